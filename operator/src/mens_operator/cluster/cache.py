"""The last known state of the cluster, trimmed to what plans read.

An event is a hint. An older object never replaces a newer one. Tombstones reject late events of
deleted objects. A complete list removes what vanished without an event (kopf never does that).
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from mens_operator.cluster import kinds, port
from mens_operator.manifests import names

CHILD_SELECTOR: Final = names.UID_LABEL
"""Label selector of our own watches. The API server applies it, so pods of other workloads cost
nothing. The label is our own: Helm, Kustomize and Argo CD write `app.kubernetes.io/managed-by`."""

_META: Final = (
    "name",
    "namespace",
    "uid",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "ownerReferences",
)
_SPEC: Final = ("suspend", "activeDeadlineSeconds")
"""What plans read of the specs of Jobs."""
_COMPARED: Final = (kinds.DEPLOYMENT, kinds.SERVICE)
"""Kinds that people can change: kept whole, with the fields that are ours. They are few."""
_POD_SPEC: Final = ("nodeName",)
_ANNOTATIONS: Final = (names.PAUSE_ANNOTATION, names.HASH_ANNOTATION)
_MAX_TOMBSTONES: Final = 10_000
"""Maximum number of deleted UIDs to keep; an event is late by seconds, not hours."""


class Cache:
    """The objects of all watched kinds; `on_change` is called for each difference."""

    def __init__(self, on_change: Callable[[kinds.Key, kinds.Object], None]) -> None:
        self._on_change = on_change
        self._objects: dict[kinds.Key, kinds.Object] = {}
        self._children: dict[str, set[kinds.Key]] = defaultdict(set)
        self._tombstones: OrderedDict[str, float] = OrderedDict()
        """UID -> resourceVersion up to which events are rejected."""
        self._lists: set[tuple[kinds.Kind, str | None]] = set()

    def get(self, key: kinds.Key) -> kinds.Object | None:
        """Return the last known state of an object."""
        return self._objects.get(key)

    def of_kind(self, kind: kinds.Kind, namespace: str | None = None) -> list[kinds.Object]:
        """Return all objects of a kind."""
        return [
            obj
            for key, obj in self._objects.items()
            if key.kind == kind and namespace in (None, key.namespace)
        ]

    def children(self, uid: str) -> list[kinds.Object]:
        """Return the objects that carry the UID of a resource in their label, sorted."""
        return [self._objects[key] for key in sorted(self._children.get(uid, ()))]

    def is_complete(self, wanted: Iterable[tuple[kinds.Kind, str | None]]) -> bool:
        """Whether each of these lists has been read to its end once."""
        return self._lists.issuperset(wanted)

    def put(self, obj: kinds.Object) -> bool:
        """Store a newer state of an object; False if it is older, or if the object was deleted."""
        key, uid = kinds.key_of(obj), obj["metadata"].get("uid")
        if kinds.version_of(obj) <= self._tombstones.get(uid, -1):
            return False
        self._tombstones.pop(uid, None)
        old = self._objects.get(key)
        if old is not None and kinds.version_of(old) >= kinds.version_of(obj):
            return False
        trimmed = trim(key.kind, obj)
        if old is not None and _uid_label(old) != _uid_label(trimmed):
            self._unlink(key, old)
        self._objects[key] = trimmed
        if _uid_label(trimmed):
            self._children[_uid_label(trimmed)].add(key)
        if old is None or not _same(old, trimmed):
            self._on_change(key, trimmed)
        return True

    def drop(self, key: kinds.Key, *, uid: str | None = None, version: int | None = None) -> None:
        """Remove an object, unless it has another UID by now.

        With `version`, a newer event restores the object: a watch with a selector also reports
        DELETED for an object that only lost a label. Without it, the object stays removed.
        """
        old = self._objects.get(key)
        known = old["metadata"]["uid"] if old else ""
        until = float("inf") if version is None else version
        if old is not None and uid in (None, known) and kinds.version_of(old) > until:
            return
        if uid or known:
            self._add_tombstone(uid or known, until)
        if old is None or uid not in (None, known):
            return
        del self._objects[key]
        self._unlink(key, old)
        self._on_change(key, old)

    def replace(
        self,
        kind: kinds.Kind,
        namespace: str | None,
        objects: Iterable[kinds.Object],
        version: str,
    ) -> None:
        """Store a complete list; remove what is neither in the list nor newer than it."""
        named = set()
        for obj in objects:
            named.add(kinds.key_of(obj))
            self.put(obj)
        for key, obj in list(self._objects.items()):
            if key.kind != kind or namespace not in (None, key.namespace) or key in named:
                continue
            self.drop(key, uid=obj["metadata"]["uid"], version=int(version))
        self._lists.add((kind, namespace))

    def _add_tombstone(self, uid: str, until: float) -> None:
        self._tombstones[uid] = max(until, self._tombstones.get(uid, -1))
        while len(self._tombstones) > _MAX_TOMBSTONES:
            self._tombstones.popitem(last=False)

    def _unlink(self, key: kinds.Key, old: kinds.Object) -> None:
        keys = self._children.get(_uid_label(old))
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._children[_uid_label(old)]


def trim(kind: kinds.Kind, obj: kinds.Object) -> kinds.Object:
    """Keep what plans read; managedFields and pod specs are most of an object's bytes."""
    source = obj["metadata"]
    meta = {name: source[name] for name in _META if name in source}
    notes = source.get("annotations") or {}
    kept = {name: notes[name] for name in _ANNOTATIONS if name in notes}
    if kept:
        meta["annotations"] = kept
    out: dict[str, Any] = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta}
    if kind in _COMPARED:
        entries = source.get("managedFields") or ()
        meta["managedFields"] = [entry for entry in entries if _is_ours(entry)]
    if kind in kinds.RESOURCES or kind in _COMPARED:
        out["spec"] = obj.get("spec") or {}
    elif kind == kinds.JOB:
        spec = obj.get("spec") or {}
        out["spec"] = {name: spec[name] for name in _SPEC if name in spec}
    elif kind == kinds.POD:
        spec = obj.get("spec") or {}
        out["spec"] = {name: spec[name] for name in _POD_SPEC if name in spec}
    if "status" in obj:
        out["status"] = obj["status"]
    return out


def _is_ours(entry: Mapping[str, Any]) -> bool:
    applied = entry.get("operation") == "Apply" and not entry.get("subresource")
    return applied and entry.get("manager") == port.FIELD_MANAGER


def _uid_label(obj: kinds.Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get(names.UID_LABEL, ""))


def _same(old: kinds.Object, new: kinds.Object) -> bool:
    """Whether nothing but the resourceVersion differs."""
    return _versionless(old) == _versionless(new)


def _versionless(obj: kinds.Object) -> Mapping[str, Any]:
    meta = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    return {**obj, "metadata": meta}
