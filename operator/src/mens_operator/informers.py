"""Keep the cache current: the three kinds from kopf and our lists, children from our watches.

No resource of a namespace is planned before all lists of that namespace are complete. A namespace
that the API server refuses to list is left out with a warning until it can be listed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from mens_operator.cluster import cache, errors, kinds, port, reflector
from mens_operator.handlers import supervisor

_LOG = logging.getLogger(__name__)
_RELIST: Final = 600.0
"""Seconds between our lists of the three kinds; kopf never reports what vanished in a gap."""
_REFUSED: Final = 30.0
"""Seconds after which a refused list is retried."""
_STALE_SECONDS: Final = 60.0
"""Seconds that kopf may be behind our list before it counts as stale."""
_WATCH_TIMEOUT_SECONDS: Final = 300.0
"""Seconds without an event or a bookmark after which a watch counts as dead."""


class Informers:
    """Keep the cache current, and report which parts of it are not synced."""

    def __init__(
        self,
        cluster: port.Cluster,
        into: cache.Cache,
        namespaces: tuple[str, ...],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._cache = into
        self._clock = clock
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._gap = asyncio.Event()
        self._delivered: dict[str, int] = {}
        self.listers = [
            reflector.Lister(cluster, reflector.Scope(kind, namespace), into, clock=clock)
            for kind in kinds.RESOURCES
            for namespace in self._namespaces
        ]
        """For the three kinds, which kopf watches."""
        self.reflectors = [
            reflector.Reflector(
                cluster, reflector.Scope(kind, namespace, cache.CHILD_SELECTOR), into, clock=clock
            )
            for kind in kinds.CHILDREN
            for namespace in self._namespaces
        ]
        self._readers = {
            name: [
                each for each in (*self.listers, *self.reflectors) if each.scope.namespace == name
            ]
            for name in self._namespaces
        }

    # -- events --------------------------------------------------------------------------------

    def handle_event(self, type_: str, obj: Mapping[str, Any]) -> None:
        """Handle an event of kopf."""
        uid = obj["metadata"]["uid"]
        if type_ == "DELETED":
            self._delivered.pop(uid, None)
            self._cache.drop(kinds.key_of(obj), uid=uid)
            return
        self._delivered[uid] = max(kinds.version_of(obj), self._delivered.get(uid, 0))
        self._cache.put(obj)

    def request_relist(self) -> None:
        """List everything soon: events may have been missed."""
        self._gap.set()

    async def relist(self, supervisor: supervisor.Supervisor) -> None:
        """List the three kinds after every gap and every ten minutes, until canceled."""
        pause = 1.0
        due = self.listers
        checking = asyncio.create_task(asyncio.sleep(0), name="informers")
        try:
            while True:
                if self._gap.is_set():
                    due = self.listers
                self._gap.clear()
                try:
                    await _read(due)
                except errors.ClusterError as error:
                    _LOG.info("cannot list the resources yet: %s", error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 10.0)
                    continue
                pause = 1.0
                if due == self.listers or checking.done():
                    checking.cancel()
                    checking = asyncio.create_task(self._check(supervisor), name="informers")
                left = (name for name in self._namespaces if name not in self._unreadable())
                supervisor.follow([name for name in left if name is not None])
                due = await self._due()
        finally:
            checking.cancel()

    async def _due(self) -> list[reflector.Lister]:
        """Wait for a gap, or until a list is due; return which are."""
        pause = _REFUSED if self._unreadable() else _RELIST
        # Not wait_for: until Python 3.12 it loses a cancellation that comes with the gap.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._gap.wait()
        old = self._clock() - _RELIST
        return [each for each in self.listers if each.refused or each.listed_at <= old]

    def _unreadable(self) -> set[str | None]:
        """Return the namespaces that kopf cannot watch."""
        return {lister.scope.namespace for lister in self.listers if lister.refused}

    async def _check(self, supervisor: supervisor.Supervisor) -> None:
        """Restart kopf if it has not delivered what our list contains."""
        listed = self._versions()
        await asyncio.sleep(_STALE_SECONDS)
        missed = [
            uid
            for uid in listed.keys() & self._versions().keys()
            if self._delivered.get(uid, 0) < listed[uid]
        ]
        if missed and not supervisor.waiting_for and not self._gap.is_set():
            _LOG.warning("kopf has not delivered %d changed resources: restarting it", len(missed))
            supervisor.restart()

    def _versions(self) -> dict[str, int]:
        """Return UID and version of each resource that kopf must deliver."""
        unreadable = self._unreadable()
        return {
            obj["metadata"]["uid"]: kinds.version_of(obj)
            for kind in kinds.RESOURCES
            for obj in self._cache.of_kind(kind)
            if unreadable.isdisjoint((None, obj["metadata"]["namespace"]))
        }

    # -- state ---------------------------------------------------------------------------------

    def refused(self) -> dict[str | None, str]:
        """Return the namespaces that cannot be listed (None: the whole cluster), and why."""
        return {
            name: each.refused
            for name, readers in self._readers.items()
            for each in readers
            if each.refused
        }

    def has_synced(self, namespace: str) -> bool:
        """Whether all lists of a namespace are complete and none is refused."""
        scope = namespace if namespace in self._readers else None
        return self._complete(scope) and not any(each.refused for each in self._readers[scope])

    def all_synced(self) -> bool:
        """Whether every namespace is synced or refused."""
        refused = self.refused()
        return all(name in refused or self._complete(name) for name in self._namespaces)

    def _complete(self, namespace: str | None) -> bool:
        return self._cache.is_complete(
            (kind, namespace) for kind in (*kinds.RESOURCES, *kinds.CHILDREN)
        )

    def problems(self, reachable: float) -> list[str]:
        """Return which watches are dead.

        Args:
            reachable: Seconds for which the API server has been reachable. During an outage no
                watch delivers anything, and a new process would not do better.
        """
        now = self._clock()
        return [
            f"the watch of {each.scope.kind.plural} delivered nothing for"
            f" {now - each.last_event_at:.0f} s"
            for each in self.reflectors
            if not each.refused
            and min(now - each.last_event_at, reachable) > _WATCH_TIMEOUT_SECONDS
        ]

    def unready(self) -> list[str]:
        """Return why no resource can be reconciled."""
        refused = self.refused()
        if len(refused) == len(self._namespaces):
            return [f"{name or 'the cluster'} cannot be read: {refused[name]}" for name in refused]
        return [] if self.all_synced() else ["the first lists are not complete"]

    def metrics(self) -> dict[str, float]:
        """Return metrics."""
        now, refused = self._clock(), self.refused()
        ages = {
            f'mens_operator_watch_age_seconds{{resource="{each.scope.kind.plural}"'
            f',namespace="{each.scope.namespace or ""}"}}': now - each.last_event_at
            for each in self.reflectors
        }
        return ages | {
            f'mens_operator_namespace_refused{{namespace="{name or ""}"}}': float(name in refused)
            for name in self._namespaces
        }


async def _read(listers: list[reflector.Lister]) -> None:
    """List these scopes; a refused one does not stop the others."""
    for lister in listers:
        try:
            await lister.read()
        except errors.Refused:
            continue  # The lister has logged it.
