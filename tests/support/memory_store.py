"""An object store in a dictionary, with the contract of S3; for tests only."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from mens.artifacts import digests, errors, refs, store


class MemoryStore:
    """Holds objects in memory. Buckets must exist, as in S3."""

    def __init__(self, buckets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, bytes]] = {refs.Uri(name).bucket: {} for name in buckets}

    def create_bucket(self, name: str) -> None:
        """Add a bucket; one that exists stays as it is."""
        with self._lock:
            self._objects.setdefault(refs.Uri(name).bucket, {})

    def get_bytes(self, uri: refs.Uri, *, max_bytes: int = store.SMALL) -> bytes:
        """See `store.ObjectStore`."""
        with self._lock:
            data = self._bucket(uri).get(uri.key)
        if data is None:
            raise errors.ObjectNotFound(f"{uri} does not exist; correct the name or create it")
        if len(data) > max_bytes:
            raise errors.ManifestInvalid(store.too_large(uri, len(data), max_bytes))
        return data

    def open(self, uri: refs.Uri) -> Iterator[bytes]:
        """See `store.ObjectStore`."""
        data = self.get_bytes(uri, max_bytes=2**62)
        for start in range(0, len(data), digests.CHUNK):
            yield data[start : start + digests.CHUNK]

    def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
        """See `store.ObjectStore`."""
        with self._lock:
            bucket = self._bucket(uri)
            if if_absent and uri.key in bucket:
                return False
            bucket[uri.key] = bytes(data)
            return True

    def put_file(self, uri: refs.Uri, path: Path, digest: digests.Digest) -> None:
        """See `store.ObjectStore`."""
        data = path.read_bytes()
        store.unchanged(path, digests.Digest.of_bytes(data), digest)
        self.put_bytes(uri, data)

    def head(self, uri: refs.Uri) -> store.ObjectInfo | None:
        """See `store.ObjectStore`."""
        with self._lock:
            data = self._objects.get(uri.bucket, {}).get(uri.key)
        return None if data is None else store.ObjectInfo(uri, len(data))

    def list(self, folder: refs.Uri) -> Iterator[store.ObjectInfo]:
        """See `store.ObjectStore`."""
        for key, size in self.keys(folder):
            yield store.ObjectInfo(refs.Uri(folder.bucket, key), size)

    def keys(self, folder: refs.Uri) -> Iterator[tuple[str, int]]:
        """See `store.ObjectStore`."""
        prefix = folder.key + "/" if folder.key else ""
        with self._lock:
            found = [(k, len(v)) for k, v in self._bucket(folder).items() if k.startswith(prefix)]
        yield from found

    def delete(self, uri: refs.Uri) -> None:
        """See `store.ObjectStore`."""
        with self._lock:
            self._bucket(uri).pop(uri.key, None)

    def probe(self, bucket: refs.Uri, *, write: bool = True) -> store.Probe:
        """See `store.ObjectStore`."""
        with self._lock:
            self._bucket(bucket)
        return store.Probe(bucket.root, writable=write, conditional_writes=write)

    def _bucket(self, uri: refs.Uri) -> dict[str, bytes]:
        try:
            return self._objects[uri.bucket]
        except KeyError:
            raise errors.BucketNotFound(store.no_bucket(uri.bucket)) from None
