"""Reflectors: list, then watch, and keep one kind of one namespace in the cache.

The Watch of the client library retries a 410 with the same stale version, requests no bookmarks and
opens a second client. This one lists again after a 410, keeps its version over a lost connection,
and records the time of its last event for the liveness probe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mens_operator.cluster import cache, errors, kinds, port

_LOG = logging.getLogger(__name__)
_PAGE: Final = 500
_BACKOFF: Final = (0.2, 10.0)
"""First and maximum pause after a failed call, in seconds."""


@dataclass(frozen=True)
class Scope:
    """What one reflector watches."""

    kind: kinds.Kind
    namespace: str | None
    selector: str = ""


async def list_all(cluster: port.Cluster, scope: Scope, into: cache.Cache) -> str:
    """Read a complete list into the cache and return its resourceVersion."""
    objects: list[kinds.Object] = []
    more: str | None = None
    while True:
        page = await cluster.list_page(
            scope.kind, scope.namespace, selector=scope.selector, limit=_PAGE, more=more
        )
        # Trimmed page by page: a long list is never in memory as a whole.
        objects.extend(_trimmed(scope.kind, obj) for obj in page.items)
        more = page.more
        if more is None:
            into.replace(scope.kind, scope.namespace, objects, page.resource_version)
            return page.resource_version


def _trimmed(kind: kinds.Kind, obj: kinds.Object) -> kinds.Object:
    return cache.trim(kind, obj)


class Lister:
    """Lists one scope into the cache, and keeps whether that is refused."""

    def __init__(
        self,
        cluster: port.Cluster,
        scope: Scope,
        into: cache.Cache,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.scope = scope
        self.listed_at = float("-inf")
        """When a list was last complete, on the given clock."""
        self.refused: str | None = None
        """Message of the API server if it refuses the list; otherwise None."""
        self._cluster = cluster
        self._cache = into
        self._clock = clock

    async def read(self) -> str:
        """Read a complete list and return its resourceVersion; a refusal is logged once."""
        try:
            version = await list_all(self._cluster, self.scope, self._cache)
        except errors.Refused as error:
            self._refuse(error)
            raise
        if self.refused is not None:
            _LOG.warning("%s of %s can be listed again", self.scope.kind.plural, self._where())
        self.refused = None
        self.listed_at = self._clock()
        return version

    def _refuse(self, error: errors.Refused) -> None:
        if self.refused is None:
            text = "%s is left out: the API server refuses to list its %s: %s. Bind the role of the"
            text += " chart there to the service account of the operator, or remove it from"
            text += " watchNamespaces."
            _LOG.warning(text, self._where(), self.scope.kind.plural, error)
        self.refused = str(error)

    def _where(self) -> str:
        return f"namespace {self.scope.namespace}" if self.scope.namespace else "the cluster"


class Reflector(Lister):
    """Keeps one scope of the cache current with a watch."""

    def __init__(
        self,
        cluster: port.Cluster,
        scope: Scope,
        into: cache.Cache,
        *,
        clock: Callable[[], float],
        seconds: int = 300,
    ) -> None:
        super().__init__(cluster, scope, into, clock=clock)
        self.last_event_at = clock()
        """Time of the last event, bookmark or list, on the given clock."""
        self._seconds = seconds

    async def run(self) -> None:
        """List and watch until canceled."""
        pause = _BACKOFF[0]
        while True:
            try:
                version = await self.read()
                self.last_event_at = self._clock()
                await self._follow(version)
            except errors.Gone:
                _LOG.info("watch of %s is too old: listing again", self.scope.kind.plural)
                pause = _BACKOFF[0]
                await asyncio.sleep(pause)
            except errors.ClusterError as error:
                if isinstance(error, errors.Refused):
                    self._refuse(error)
                else:
                    _LOG.warning("cannot list %s: %s", self.scope.kind.plural, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _BACKOFF[1])

    async def _follow(self, version: str) -> None:
        """Watch from a version on. Raises Gone, or Refused when a permission was revoked."""
        pause = _BACKOFF[0]
        while True:
            try:
                async for change in self._cluster.watch(
                    self.scope.kind,
                    self.scope.namespace,
                    resource_version=version,
                    selector=self.scope.selector,
                    seconds=self._seconds,
                ):
                    version = change.object["metadata"]["resourceVersion"]
                    self.last_event_at = self._clock()
                    pause = _BACKOFF[0]
                    self._take(change)
                self.last_event_at = self._clock()  # The server ended the watch at its timeout.
            except (errors.Gone, errors.Refused):
                raise
            except errors.ClusterError as error:
                _LOG.warning("watch of %s broke: %s", self.scope.kind.plural, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _BACKOFF[1])

    def _take(self, change: port.Change) -> None:
        if change.type == "BOOKMARK":
            return
        if change.type == "DELETED":
            gone = change.object
            self._cache.drop(
                kinds.key_of(gone), uid=gone["metadata"]["uid"], version=kinds.version_of(gone)
            )
            return
        self._cache.put(change.object)
