"""The protocol of an object store: what Mens asks of S3, and nothing more.

`s3.S3Store` implements it, and so does a double of the tests; both pass one contract suite. All
calls block and raise `errors.StoreError`. `head` returns None for an absent object; every other
call raises. ETags, checksums and tags of the store are never trusted: Mens computes digests itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mens.artifacts import digests, errors, refs

SMALL: Final = 16 * 1024 * 1024
"""Bytes that `get_bytes` reads at most unless told otherwise; a manifest of 100,000 files fits."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store says about an object; a hint, never a proof of its bytes."""

    uri: refs.Uri
    """Where it lies."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a bucket can do, tried and not believed."""

    bucket: refs.Uri
    """The bucket that was tried."""
    writable: bool
    """Whether a small object could be written; False when it was not tried."""
    conditional_writes: bool
    """Whether `If-None-Match: *` is honored. Where it is not, the first of two simultaneous
    publishers of one folder may lose; readers still never see a mixed artifact."""


class ObjectStore(Protocol):
    """Blocking access to buckets; safe to call from several threads."""

    def get_bytes(self, uri: refs.Uri, *, max_bytes: int = SMALL) -> bytes:
        """The whole object; `ManifestInvalid` if it has more than `max_bytes`."""
        ...

    def open(self, uri: refs.Uri) -> Iterator[bytes]:
        """The object's bytes in chunks; an error shows at the first chunk at the latest."""
        ...

    def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
        """Write a small object. With `if_absent`, False says that there already was one."""
        ...

    def put_file(self, uri: refs.Uri, path: Path, digest: digests.Digest) -> None:
        """Write a file; nothing becomes visible if its bytes are not those of `digest`."""
        ...

    def head(self, uri: refs.Uri) -> ObjectInfo | None:
        """Return what the store knows about an object; None if object or bucket do not exist."""
        ...

    def keys(self, folder: refs.Uri) -> Iterator[tuple[str, int]]:
        """Yield key and size in bytes of all objects below a folder, in any order, without markers.

        The keys are not checked: other clients can have written the objects.
        """
        ...

    def list(self, folder: refs.Uri) -> Iterator[ObjectInfo]:
        """Yield the same objects with checked names; the first invalid one raises."""
        ...

    def delete(self, uri: refs.Uri) -> None:
        """Remove an object. An absent object is not an error."""
        ...

    def probe(self, bucket: refs.Uri, *, write: bool = True) -> Probe:
        """Check endpoint, credentials and bucket, and raise the matching error."""
        ...


def no_bucket(name: str) -> str:
    """Return the message for a bucket that does not exist."""
    return f"the bucket {name!r} does not exist; create it, or correct the bucket's name"


def unchanged(path: Path, found: digests.Digest, expected: digests.Digest) -> None:
    """Raise unless a file still has its expected digest."""
    if found != expected:
        raise errors.DigestMismatch(
            f"{path.name} changed while it was being published; publish again when it is finished"
        )


def too_large(uri: refs.Uri, size: int, limit: int) -> str:
    """Return the message for an object that is too large to be a manifest."""
    return f"{uri} has {size} bytes, more than the {limit} that are read at once"
