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
        """What the store says about an object; None if there is none, or no such bucket."""
        ...

    def keys(self, folder: refs.Uri) -> Iterator[tuple[str, int]]:
        """Key and bytes of all objects below a folder, in no promised order; no folder markers.

        The keys are unchecked, as whoever put the objects there named them.
        """
        ...

    def list(self, folder: refs.Uri) -> Iterator[ObjectInfo]:
        """The same with checked names; `NameRefused` at the first that is refused."""
        ...

    def delete(self, uri: refs.Uri) -> None:
        """Remove an object; removing what is not there is no error."""
        ...

    def probe(self, bucket: refs.Uri, *, write: bool = True) -> Probe:
        """Try endpoint, credentials and bucket; raises the error that fits."""
        ...


def no_bucket(name: str) -> str:
    """Message for a bucket that is not there."""
    return f"the bucket {name!r} does not exist; create it, or correct the bucket's name"


def unchanged(path: Path, found: digests.Digest, expected: digests.Digest) -> None:
    """Raise unless a file still has the digest it was announced with."""
    if found != expected:
        raise errors.DigestMismatch(
            f"{path.name} changed while it was being published; publish again when it is finished"
        )


def too_large(uri: refs.Uri, size: int, limit: int) -> str:
    """Message for an object that is no manifest by its size alone."""
    return f"{uri} has {size} bytes, more than the {limit} that are read at once"
