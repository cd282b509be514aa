"""Read documents from S3-compatible storage."""

from __future__ import annotations

from collections.abc import Iterator

from mens.api import reasons
from mens.artifacts import errors as store_errors
from mens.artifacts import names, refs, store
from mens.runtime import errors
from mens_corpus.readers import base


class S3Reader:
    """All objects below a folder, or one object."""

    def __init__(self, objects: store.ObjectStore, folder: refs.Uri) -> None:
        self._objects = objects
        self._folder = folder

    @property
    def uri(self) -> str:
        """See `base.Reader`."""
        return str(self._folder)

    def documents(self) -> Iterator[base.Document]:
        """See `base.Reader`."""
        found = False
        prefix = f"{self._folder.key}/" if self._folder.key else ""
        try:
            for key, size in self._objects.keys(self._folder):
                found = True
                yield base.Document(
                    key.removeprefix(prefix), size, key, unreadable=_invalid_name(key)
                )
            if not found:
                yield self._single()
        except store_errors.BucketNotFound as e:
            raise base.SourceNotFoundError(reasons.SOURCE_NOT_FOUND, str(e)) from e

    def _single(self) -> base.Document:
        item = self._objects.head(self._folder) if self._folder.key else None
        if item is None:
            raise base.SourceNotFoundError(
                reasons.SOURCE_NOT_FOUND,
                f"{self._folder} contains no objects; upload the documents or correct s3.uri",
            )
        return base.Document(self._folder.name, item.size, item.uri.key)

    def read(self, entry: base.Document) -> bytes | None:
        """See `base.Reader`."""
        data = bytearray()
        try:
            for chunk in self._objects.open(refs.Uri(self._folder.bucket, entry.key)):
                data += chunk
                if len(data) > base.DOCUMENT_LIMIT:
                    return None
        except (store_errors.ObjectNotFound, store_errors.DigestMismatch) as e:
            raise errors.InvalidInputError(
                reasons.SOURCE_INVALID,
                f"{self._folder} changed while it was read ({e}); the next attempt reads it again",
            ) from e
        return bytes(data)

    def close(self) -> None:
        """See `base.Reader`; nothing to release."""


def _invalid_name(key: str) -> str:
    """Return why the name of an object is invalid; empty if it is valid."""
    try:
        names.relative(key)
    except store_errors.NameRefused as e:
        return str(e)
    return ""
