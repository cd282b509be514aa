"""What the operator requires of a cluster; `kubernetes.py` and `in_memory.py` implement it.

Laws, tested against both:
- `apply` of the same object twice writes once (resourceVersion stays).
- a status apply with a stale resourceVersion raises Conflict; for a deleted object, NotFound.
- `apply_status` never touches the spec, `apply` never the status.
- a watch from a list's version yields every later change once and in order, bookmarks in between.
- a watch reports DELETED for an object that no longer matches, with the version of that change.
- an object with finalizers stays, with a deletionTimestamp, until the last one is removed.
- each answer of a write is the stored object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from mens_operator.cluster import kinds

FIELD_MANAGER: Final = "mens-operator"
"""Owner of the fields that the operator applies. If it changes, old fields are never removed."""


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    items: tuple[kinds.Object, ...]
    resource_version: str
    more: str | None
    """Token of the next page; None on the last one."""


@dataclass(frozen=True)
class Change:
    """One event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: kinds.Object


class Cluster(Protocol):
    """Reads and writes; every error is one of `errors`."""

    async def get(self, key: kinds.Key) -> kinds.Object | None:
        """Return the object, None if there is none."""

    async def list_page(
        self,
        kind: kinds.Kind,
        namespace: str | None,
        *,
        selector: str = "",
        limit: int = 500,
        more: str | None = None,
    ) -> Page:
        """Return one page of objects, all namespaces for None; Gone if `more` is too old."""

    def watch(
        self,
        kind: kinds.Kind,
        namespace: str | None,
        *,
        resource_version: str,
        selector: str = "",
        seconds: int = 300,
    ) -> AsyncIterator[Change]:
        """Yield what changed after a version until the server ends it; Gone if it is too old."""

    async def apply(self, obj: kinds.Object) -> kinds.Object:
        """Create the object or bring the fields we own to these values (server-side apply)."""

    async def apply_status(self, obj: kinds.Object) -> kinds.Object:
        """Bring the status to these values; metadata.resourceVersion guards against staleness."""

    async def create(self, obj: kinds.Object) -> kinds.Object:
        """Create an object; Conflict if it exists."""

    async def replace(self, obj: kinds.Object) -> kinds.Object:
        """Replace an object; Conflict unless metadata.resourceVersion is the stored one."""

    async def delete(self, key: kinds.Key, *, uid: str | None = None) -> bool:
        """Delete in the background; False if it was gone (or is another object than `uid`)."""
