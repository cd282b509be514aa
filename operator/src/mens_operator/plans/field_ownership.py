"""Which field of an object of ours somebody else has written since.

The API server keeps, for everybody who applies, the fields that are theirs; whoever changes or
removes one takes it away. That tells a change by others from the API server's own hand: defaults,
other spellings of a quantity and what admission rewrites leave a field ours, so that no value has
to be compared and nothing is put back for ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def taken(wanted: Any, owned: Mapping[str, Any], at: str = "spec") -> str | None:
    """Return the path of the first field that we set and that is no longer ours.

    `owned` is the part of `fieldsV1` that belongs to `wanted`; an empty one is a value that is
    owned as a whole.
    """
    if not owned:
        return None
    for name, path, value in _parts(wanted, owned, at):
        if value in ("", None, [], {}):
            continue  # The API server does not store it.
        found = path if name not in owned else taken(value, owned[name], path)
        if found is not None:
            return found
    return None


def _parts(wanted: Any, owned: Mapping[str, Any], at: str) -> list[tuple[str, str, Any]]:
    """Return name in `fieldsV1`, path and value of everything directly below."""
    if isinstance(wanted, Mapping):
        return [(f"f:{name}", f"{at}.{name}", value) for name, value in wanted.items()]
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return [(_item(each, owned), _path(each, at), each) for each in wanted]
    return []


def _item(item: Any, owned: Mapping[str, Any]) -> str:
    """Return the key by which `fieldsV1` knows an item of a list; empty if it knows none."""
    for name in owned:
        if name.startswith("k:"):
            fields = json.loads(name.removeprefix("k:"))
            if all(item.get(field) == value for field, value in fields.items()):
                return name
    return ""


def _path(item: Any, at: str) -> str:
    name = item.get("name") or item.get("mountPath") if isinstance(item, Mapping) else None
    return f"{at}[{name}]"
