"""Field sets of server-side apply, for the fake: which paths an applied object owns.

Lists of objects merge by key where Kubernetes' schemas say so for the objects we build; every
other list is atomic.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str, ...]
Paths: TypeAlias = frozenset[Path]

_LIST_KEYS: Final[Mapping[str, str]] = {
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ownerReferences": "uid",
}
"""The key that tells the items of a list apart, by the name of the field."""
_ATOMIC: Final = frozenset({"selector", "nodeSelector", "secretKeyRef"})
"""Objects that are owned and replaced as a whole, by the name of the field."""


def part_of(obj: Mapping[str, Any], sub: str | None) -> dict[str, Any]:
    """Return what an apply is about: the status, or labels, annotations, owners and the rest."""
    if sub:
        return {sub: copy.deepcopy(obj.get(sub) or {})}
    meta = {
        name: obj["metadata"][name]
        for name in ("labels", "annotations", "ownerReferences")
        if obj["metadata"].get(name)
    }
    body = {
        name: value
        for name, value in obj.items()
        if name not in ("apiVersion", "kind", "metadata", "status")
    }
    return copy.deepcopy({**body, **({"metadata": meta} if meta else {})})


def paths(value: Any, at: Path = ()) -> Paths:
    """Return the paths of all leaves; an empty object or list is a leaf."""
    children = _children(value, at)
    if not children:
        return frozenset([at]) if at else frozenset()
    return frozenset[Path]().union(*(paths(item, (*at, name)) for name, item in children.items()))


def kept(old: Mapping[str, Any], new: Mapping[str, Any], owned: Paths) -> Paths:
    """Return the owned leaves that somebody else's write has left as they were."""
    before, after = _leaves(old), _leaves(new)
    return frozenset(path for path in owned if path in after and before[path] == after[path])


def managed(value: Any, owned: Paths, at: Path = ()) -> dict[str, Any] | None:
    """Return the owned leaves as `managedFields[].fieldsV1` writes them, None if there are none."""
    children = _children(value, at)
    if not children:
        return {} if at in owned else None
    key = _key_of(value, at)
    out = {}
    for name, item in children.items():
        inner = managed(item, owned, (*at, name))
        if inner is not None:
            label = json.dumps({key: name}, separators=(",", ":"))
            out[f"k:{label}" if key else f"f:{name}"] = inner
    return out or None


def merged(stored: Any, given: Any, at: Path = ()) -> Any:
    """Return the stored value with the given one laid over it."""
    if at and at[-1] in _ATOMIC:
        return given
    if isinstance(given, Mapping) and isinstance(stored, Mapping):
        out = dict(stored)
        for name, item in given.items():
            out[name] = merged(stored[name], item, (*at, name)) if name in stored else item
        return out
    key = _key_of(given, at)
    if key and isinstance(stored, list):
        by_key = {item[key]: item for item in stored}
        for item in given:
            old = by_key.get(item[key])
            by_key[item[key]] = merged(old, item, (*at, "")) if old is not None else item
        return list(by_key.values())
    return given


def without(stored: Mapping[str, Any], dropped: Paths) -> dict[str, Any]:
    """Return the stored object without these leaves and without what they leave empty."""
    out = copy.deepcopy(dict(stored))
    for path in dropped:
        _drop(out, path, ())
    return out


def _drop(value: Any, path: Path, at: Path) -> None:
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        if head not in value:
            return
        if rest:
            _drop(value[head], rest, (*at, head))
        if not rest or value[head] in ({}, []):
            del value[head]
        return
    key = _key_of(value, at)
    for item in [item for item in value if key and str(item[key]) == head]:
        if rest:
            _drop(item, rest, (*at, ""))
        if not rest or not item or rest == (key,):
            value.remove(item)


def _leaves(value: Any, at: Path = ()) -> dict[Path, Any]:
    children = _children(value, at)
    if not children:
        return {at: value}
    found: dict[Path, Any] = {}
    for name, item in children.items():
        found |= _leaves(item, (*at, name))
    return found


def _children(value: Any, at: Path) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {} if at and at[-1] in _ATOMIC else dict(value)
    key = _key_of(value, at)
    return {str(item[key]): item for item in value} if key else {}


def _key_of(value: Any, at: Path) -> str | None:
    """Return the merge key if the value is a list that merges by key."""
    if not isinstance(value, list) or not value or not at:
        return None
    key = _LIST_KEYS.get(at[-1])
    if key and all(isinstance(item, Mapping) and key in item for item in value):
        return key
    return None
