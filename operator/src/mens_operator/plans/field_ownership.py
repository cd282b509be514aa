"""Finds fields of an applied object that another client has written since.

The API server records for each field manager the fields that it applied (`managedFields`); another
client that changes or removes a field takes its ownership. Changes by the API server itself do not
count: defaults, other spellings of a quantity and rewrites by admission leave the ownership
unchanged. No values have to be compared, and no correction repeats forever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def lost_field(applied: Any, owned: Mapping[str, Any], path: str = "spec") -> str | None:
    """Return the path of the first field of `applied` that the operator no longer owns.

    `owned` is the part of `fieldsV1` for `applied`; an empty one means that the value is owned as a
    whole.
    """
    if not owned:
        return None
    for name, child_path, value in _children(applied, owned, path):
        if value in ("", None, [], {}):
            continue  # The API server does not store it.
        found = child_path if name not in owned else lost_field(value, owned[name], child_path)
        if found is not None:
            return found
    return None


def _children(applied: Any, owned: Mapping[str, Any], path: str) -> list[tuple[str, str, Any]]:
    """Return name in `fieldsV1`, path and value of each direct child of a value."""
    if isinstance(applied, Mapping):
        return [(f"f:{name}", f"{path}.{name}", value) for name, value in applied.items()]
    if isinstance(applied, Sequence) and not isinstance(applied, str):
        return [(_item_name(each, owned), _item_path(each, path), each) for each in applied]
    return []


def _item_name(item: Any, owned: Mapping[str, Any]) -> str:
    """Return the key of a list item in `fieldsV1`; empty if it has none."""
    for name in owned:
        if name.startswith("k:"):
            fields = json.loads(name.removeprefix("k:"))
            if all(item.get(field) == value for field, value in fields.items()):
                return name
    return ""


def _item_path(item: Any, path: str) -> str:
    name = item.get("name") or item.get("mountPath") if isinstance(item, Mapping) else None
    return f"{path}[{name}]"
