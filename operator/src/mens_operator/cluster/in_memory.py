"""An in-memory API server, with the semantics that the operator can observe.

It has conflicts by resourceVersion, field ownership of server-side apply, generations, pages,
watches with bookmarks and 410, finalizers, and garbage collection by owner. One contract suite runs
against it and against a real API server (`tests/support/port_contract.py`). Tests inject faults
with `before_write` and `after_write`. It has no schemas, no defaults, no admission and no
namespaces: an object is stored as it is.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mens_operator.cluster import errors, kinds, managed_fields, port, selection

_GENERATED: Final = {*kinds.RESOURCES, kinds.JOB, kinds.DEPLOYMENT}
"""Kinds whose generation counts changes of the spec."""
_STATUS_APART: Final = {*kinds.RESOURCES, kinds.JOB, kinds.DEPLOYMENT, kinds.POD, kinds.SERVICE}
"""Kinds with a status subresource: a write of the object never touches the status."""


_SERVER_FIELDS: Final = ("uid", "creationTimestamp", "resourceVersion", "generation")
"""Fields of the metadata that only the API server writes."""
_TRACKED: Final = (kinds.DEPLOYMENT, kinds.SERVICE)
"""Kinds that show in `metadata.managedFields` what the operator has applied and still owns."""


@dataclass(frozen=True)
class Write:
    """One write through the port."""

    verb: str
    key: kinds.Key
    changed: bool


@dataclass
class _Stored:
    object: dict[str, Any]
    owned: dict[str, managed_fields.Paths]
    """What each field manager applied; the key is `manager` or `manager/status`."""


class InMemoryApiServer:
    """Implements `port.Cluster`; `put`, `set_status` and `remove` act as every other client."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.writes: list[Write] = []
        """Every write through the port, in order; writes of other clients are not included."""
        self.before_write: Callable[[str, kinds.Key], None] = lambda _verb, _key: None
        """Called before each write through the port; raise to make it fail."""
        self.after_write: Callable[[str, kinds.Key], None] = lambda _verb, _key: None
        """Called after each write through the port; raise to lose the answer of a done write."""
        self.collects_at_once = True
        """Whether dependents are deleted with their owner; otherwise `collect` deletes them."""
        self._clock = clock
        self._objects: dict[kinds.Key, _Stored] = {}
        self._version = 100
        self._uids = 0
        self._history: list[tuple[int, port.Change, kinds.Object | None]] = []
        """Version, change and the object before it."""
        self._oldest = 0
        self._snapshots: dict[tuple[kinds.Kind, str | None, str, str], list[kinds.Object]] = {}
        self._news = asyncio.Event()

    # -- reads ---------------------------------------------------------------------------------

    async def get(self, key: kinds.Key) -> kinds.Object | None:
        """See `port.Cluster`."""
        stored = self._objects.get(key)
        return copy.deepcopy(stored.object) if stored else None

    async def list_page(
        self,
        kind: kinds.Kind,
        namespace: str | None,
        *,
        selector: str = "",
        limit: int = 500,
        more: str | None = None,
    ) -> port.Page:
        """See `port.Cluster`; all pages come from one snapshot, which the token names."""
        offset, _, version = (more or f"0@{self._version}").partition("@")
        if int(version) < self._oldest:
            raise errors.Gone("410: the provided continue parameter is too old")
        listed: list[kinds.Object] = [
            stored.object
            for key, stored in sorted(self._objects.items(), key=lambda item: str(item[0]))
            if key.kind == kind
            and selection.in_namespace(key, namespace)
            and selection.matches(selector, stored.object)
        ]
        snapshot = (kind, namespace, selector, version)
        found = self._snapshots.pop(snapshot, listed) if more else listed
        start = int(offset)
        rest = f"{start + limit}@{version}" if len(found) > start + limit else None
        if rest:
            self._snapshots[snapshot] = found
        page = tuple(copy.deepcopy(found[start : start + limit]))
        return port.Page(page, version, rest)

    async def watch(
        self,
        kind: kinds.Kind,
        namespace: str | None,
        *,
        resource_version: str,
        selector: str = "",
        seconds: int = 300,
    ) -> AsyncIterator[port.Change]:
        """See `port.Cluster`."""
        seen = int(resource_version)
        if seen < self._oldest:
            raise errors.Gone("410: too old resource version")
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            news = self._news
            for version, change, before in [item for item in self._history if item[0] > seen]:
                seen = version
                if change.type == "BOOKMARK":
                    yield copy.deepcopy(change)
                elif kinds.of(change.object) == kind and selection.in_namespace(
                    kinds.key_of(change.object), namespace
                ):
                    for selected in selection.changes(selector, change, before):
                        yield copy.deepcopy(selected)
            left = end - loop.time()
            if left <= 0:
                return
            try:
                # Not wait_for: until Python 3.12 it loses a cancellation that comes with the news.
                async with asyncio.timeout(left):
                    await news.wait()
            except TimeoutError:
                return
            if seen < self._oldest:
                raise errors.Gone("410: history was compacted")

    # -- writes through the port ---------------------------------------------------------------

    async def apply(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        key = kinds.key_of(obj)
        return self._write("apply", key, lambda: self._apply(key, obj, sub=None))

    async def apply_status(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        key = kinds.key_of(obj)
        return self._write("apply_status", key, lambda: self._apply(key, obj, sub="status"))

    async def create(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        key = kinds.key_of(obj)
        return self._write("create", key, lambda: self._create(key, obj))

    async def replace(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        key = kinds.key_of(obj)

        def act() -> tuple[dict[str, Any], bool]:
            stored = self._existing(key)
            _require_version(stored.object, obj)
            return self._store(key, {**copy.deepcopy(dict(obj))}, stored)

        return self._write("replace", key, act)

    async def delete(self, key: kinds.Key, *, uid: str | None = None) -> bool:
        """See `port.Cluster`."""
        self.before_write("delete", key)
        stored = self._objects.get(key)
        gone = stored is None or (uid is not None and stored.object["metadata"]["uid"] != uid)
        self.writes.append(Write("delete", key, not gone))
        if not gone:
            self.remove(key)
        self.after_write("delete", key)
        return not gone

    def _write(
        self, verb: str, key: kinds.Key, act: Callable[[], tuple[dict[str, Any], bool]]
    ) -> kinds.Object:
        self.before_write(verb, key)
        stored, changed = act()
        self.writes.append(Write(verb, key, changed))
        self.after_write(verb, key)
        return copy.deepcopy(stored)

    # -- other clients: users, controllers, kubelets --------------------------------------------

    def put(self, obj: kinds.Object) -> dict[str, Any]:
        """Create an object or replace all but its status, as a user would."""
        key = kinds.key_of(obj)
        stored = self._objects.get(key)
        if stored is None:
            return self._create(key, obj)[0]
        return self._store(key, copy.deepcopy(dict(obj)), stored)[0]

    def set_status(self, key: kinds.Key, status: kinds.Object) -> dict[str, Any]:
        """Replace the status, as a controller would."""
        stored = self._existing(key)
        wanted = {**copy.deepcopy(stored.object), "status": copy.deepcopy(dict(status))}
        return self._store(key, wanted, stored, sub="status")[0]

    def remove(self, key: kinds.Key) -> None:
        """Delete an object and, as the garbage collector, what it owns.

        An object with finalizers only gets a deletionTimestamp; it vanishes with the last of them.
        """
        stored = self._objects[key]
        if not stored.object["metadata"].get("finalizers"):
            self._purge(key)
        elif "deletionTimestamp" not in stored.object["metadata"]:
            now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
            old = stored.object
            stored.object = {**old, "metadata": {**old["metadata"], "deletionTimestamp": now}}
            self._version += 1
            stored.object["metadata"]["resourceVersion"] = str(self._version)
            self._record("MODIFIED", stored.object, old)

    def _purge(self, key: kinds.Key) -> None:
        stored = self._objects.pop(key)
        self._version += 1
        stored.object["metadata"]["resourceVersion"] = str(self._version)
        self._record("DELETED", stored.object)
        if not self.collects_at_once:
            return
        uid = stored.object["metadata"]["uid"]
        for child in [key for key, item in self._objects.items() if _owned_by(item.object, uid)]:
            if child in self._objects:
                self.remove(child)

    def collect(self) -> None:
        """Run the garbage collector: delete what has lost its owner."""
        there = {item.object["metadata"]["uid"] for item in self._objects.values()}
        for key, item in list(self._objects.items()):
            owners = item.object["metadata"].get("ownerReferences") or ()
            if key in self._objects and owners and there.isdisjoint(o["uid"] for o in owners):
                self.remove(key)

    def objects(self, kind: kinds.Kind) -> list[dict[str, Any]]:
        """Return copies of all objects of a kind."""
        return [
            copy.deepcopy(item.object) for key, item in self._objects.items() if key.kind == kind
        ]

    def bookmark(self) -> None:
        """Send a bookmark to every watch."""
        self._version += 1
        self._record("BOOKMARK", {"metadata": {"resourceVersion": str(self._version)}})

    def compact(self) -> None:
        """Compact the history: older watches and pages get 410, as after a long gap."""
        self._version += 1
        self._oldest = self._version
        self._history.clear()
        self._snapshots.clear()
        self._wake()

    # -- the store -----------------------------------------------------------------------------

    def _existing(self, key: kinds.Key) -> _Stored:
        stored = self._objects.get(key)
        if stored is None:
            raise errors.NotFound(f"404: {key} not found")
        return stored

    def _create(
        self, key: kinds.Key, obj: kinds.Object, applied: managed_fields.Paths = frozenset()
    ) -> tuple[dict[str, Any], bool]:
        if key in self._objects:
            raise errors.Conflict(f"409: {key} already exists")
        new = copy.deepcopy(dict(obj))
        meta = new["metadata"]
        if meta.get("resourceVersion"):
            raise errors.Conflict("409: resourceVersion should not be set on objects to be created")
        self._uids += 1
        self._version += 1
        meta.setdefault("uid", f"00000000-0000-4000-8000-{self._uids:012d}")
        meta["creationTimestamp"] = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        meta["resourceVersion"] = str(self._version)
        if key.kind in _GENERATED:
            meta["generation"] = 1
        if key.kind in _STATUS_APART and key.kind != kinds.POD:
            new.pop("status", None)
        if key.kind in _TRACKED:
            meta["managedFields"] = self._managed(new, applied)
        self._objects[key] = _Stored(new, {port.FIELD_MANAGER: applied} if applied else {})
        self._record("ADDED", new)
        return new, True

    def _apply(
        self, key: kinds.Key, obj: kinds.Object, *, sub: str | None
    ) -> tuple[dict[str, Any], bool]:
        part = managed_fields.part_of(obj, sub)
        stored = self._objects.get(key)
        if stored is None:
            if sub:
                raise errors.NotFound(f"404: {key} not found")
            return self._create(key, obj, managed_fields.paths(part))
        _require_version(stored.object, obj)
        manager = f"{port.FIELD_MANAGER}/{sub}" if sub else port.FIELD_MANAGER
        given = managed_fields.paths(part)
        others = frozenset[managed_fields.Path]().union(
            *(owned for name, owned in stored.owned.items() if name != manager)
        )
        dropped = stored.owned.get(manager, frozenset()) - given - others
        wanted = managed_fields.merged(managed_fields.without(stored.object, dropped), part)
        stored.owned[manager] = given
        return self._store(key, wanted, stored, sub=sub, applied=True)

    def _store(
        self,
        key: kinds.Key,
        wanted: dict[str, Any],
        stored: _Stored,
        *,
        sub: str | None = None,
        applied: bool = False,
    ) -> tuple[dict[str, Any], bool]:
        old = stored.object
        if sub == "status":
            wanted = {**old, "status": wanted.get("status", {})}
        elif key.kind in _STATUS_APART:
            wanted.pop("status", None)
            wanted |= {"status": old["status"]} if "status" in old else {}
        _require_immutable(key, old, wanted)
        meta = {**wanted["metadata"]}
        for name in _SERVER_FIELDS:
            meta.pop(name, None)
            meta |= {name: old["metadata"][name]} if name in old["metadata"] else {}
        if "deletionTimestamp" in old["metadata"]:  # A deletion cannot be undone.
            meta["deletionTimestamp"] = old["metadata"]["deletionTimestamp"]
        wanted["metadata"] = meta
        if key.kind in _TRACKED and not sub:
            self._track(stored, wanted, applied=applied)
        if wanted == old:
            return old, False
        if key.kind in _GENERATED and wanted.get("spec") != old.get("spec"):
            meta["generation"] += 1
        self._version += 1
        meta["resourceVersion"] = str(self._version)
        stored.object = wanted
        self._record("MODIFIED", wanted, old)
        released = old["metadata"].get("finalizers") and not meta.get("finalizers")
        if "deletionTimestamp" in meta and released:
            self._purge(key)
        return wanted, True

    def _track(self, stored: _Stored, wanted: dict[str, Any], *, applied: bool) -> None:
        """Note which fields are still the operator's, and when it last changed them."""
        old, owned = stored.object, stored.owned.get(port.FIELD_MANAGER, frozenset())
        if not applied:
            owned = managed_fields.kept(
                managed_fields.part_of(old, None), managed_fields.part_of(wanted, None), owned
            )
            stored.owned[port.FIELD_MANAGER] = owned
        before = old["metadata"].get("managedFields") or [{}]
        wanted["metadata"].pop("managedFields", None)
        (entry,) = self._managed(wanted, owned)
        same = entry["fieldsV1"] == before[0].get("fieldsV1")
        if before[0] and (not applied or (same and wanted.get("spec") == old.get("spec"))):
            entry["time"] = before[0]["time"]
        wanted["metadata"]["managedFields"] = [entry]

    def _managed(self, obj: kinds.Object, owned: managed_fields.Paths) -> list[dict[str, Any]]:
        names = managed_fields.managed(managed_fields.part_of(obj, None), owned) or {}
        time = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = {"manager": port.FIELD_MANAGER, "operation": "Apply", "time": time}
        return [{**entry, "fieldsV1": names}]

    def _record(self, type_: str, obj: dict[str, Any], before: kinds.Object | None = None) -> None:
        self._history.append((self._version, port.Change(type_, copy.deepcopy(obj)), before))
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _owned_by(obj: kinds.Object, uid: str) -> bool:
    return any(ref["uid"] == uid for ref in obj["metadata"].get("ownerReferences") or ())


def _require_version(stored: kinds.Object, given: kinds.Object) -> None:
    version = given["metadata"].get("resourceVersion")
    if version and version != stored["metadata"]["resourceVersion"]:
        raise errors.Conflict("409: the object has been modified; please apply your changes again")


def _require_immutable(key: kinds.Key, old: kinds.Object, new: kinds.Object) -> None:
    if key.kind != kinds.JOB:
        return
    if old.get("spec", {}).get("template") != new.get("spec", {}).get("template"):
        raise errors.Refused("422: Job.batch is invalid: spec.template: field is immutable")
