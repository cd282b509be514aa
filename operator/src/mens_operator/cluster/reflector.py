"""List, then watch, for ever: the loop that keeps one kind of one namespace in the cache.

The client's own Watch retries a 410 with the same stale version, asks for no bookmarks and opens a
second client. This one lists again after 410, keeps its version over a lost connection, and says
when it last heard anything, which is what liveness asks.
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
"""First and longest pause after a failed call, in seconds."""


@dataclass(frozen=True)
class Scope:
    """What one loop follows."""

    kind: kinds.Kind
    namespace: str | None
    selector: str = ""


async def list_all(cluster: port.Cluster, scope: Scope, into: cache.Cache) -> str:
    """Read a complete list into the cache and return its version."""
    objects: list[kinds.Object] = []
    more: str | None = None
    while True:
        page = await cluster.list_page(
            scope.kind, scope.namespace, selector=scope.selector, limit=_PAGE, more=more
        )
        # Trimmed page by page, so that a long list never lies in memory in full.
        objects.extend(_trimmed(scope.kind, obj) for obj in page.items)
        more = page.more
        if more is None:
            into.replace(scope.kind, scope.namespace, objects, page.resource_version)
            return page.resource_version


def _trimmed(kind: kinds.Kind, obj: kinds.Object) -> kinds.Object:
    return cache.trim(kind, obj)


class Lister:
    """Reads one scope into the cache, and remembers whether that is refused."""

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
        """What the API server says when it refuses the list; None while it does not."""
        self._cluster = cluster
        self._cache = into
        self._clock = clock

    async def read(self) -> str:
        """Read a complete list and return its version; a refusal is said once."""
        try:
            version = await list_all(self._cluster, self.scope, self._cache)
        except errors.Refused as error:
            self._refuse(error)
            raise
        if self.refused is not None:
            _LOG.warning("%s of %s can be read again", self.scope.kind.plural, self._where())
        self.refused = None
        self.listed_at = self._clock()
        return version

    def _refuse(self, error: errors.Refused) -> None:
        if self.refused is None:
            text = "%s is left out: the API server refuses its %s: %s. Bind the chart's role there"
            text += " to the operator's service account, or take it off watchNamespaces."
            _LOG.warning(text, self._where(), self.scope.kind.plural, error)
        self.refused = str(error)

    def _where(self) -> str:
        return f"namespace {self.scope.namespace}" if self.scope.namespace else "the cluster"


class Follower(Lister):
    """Keeps one scope of the cache current."""

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
        self.heard_at = clock()
        """When the API server last said anything, on the given clock."""
        self._seconds = seconds

    async def run(self) -> None:
        """List and watch until canceled."""
        pause = _BACKOFF[0]
        while True:
            try:
                version = await self.read()
                self.heard_at = self._clock()
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
        """Watch from a version on; ends by Gone, or by Refused when rights were taken."""
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
                    self.heard_at = self._clock()
                    pause = _BACKOFF[0]
                    self._take(change)
                self.heard_at = self._clock()  # The server ended it in order.
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
