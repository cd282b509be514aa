"""Documents in S3-compatible storage."""

from __future__ import annotations

from collections.abc import Iterator

from mens.api import reasons
from mens.artifacts import errors as store_errors
from mens.artifacts import names, refs, store
from mens_corpus import errors
from mens_corpus.readers import trees


class BucketTree:
    """All objects below a folder, or one object."""

    def __init__(self, objects: store.ObjectStore, folder: refs.Uri) -> None:
        self._objects = objects
        self._folder = folder

    @property
    def uri(self) -> str:
        """See `trees.Tree`."""
        return str(self._folder)

    def entries(self) -> Iterator[trees.Entry]:
        """See `trees.Tree`."""
        found = False
        prefix = f"{self._folder.key}/" if self._folder.key else ""
        try:
            for key, size in self._objects.keys(self._folder):
                found = True
                yield trees.Entry(key.removeprefix(prefix), size, key, refused=_refused(key))
            if not found:
                yield self._single()
        except store_errors.BucketNotFound as e:
            raise errors.SourceMissing(reasons.SOURCE_NOT_FOUND, str(e)) from e

    def _single(self) -> trees.Entry:
        item = self._objects.head(self._folder) if self._folder.key else None
        if item is None:
            raise errors.SourceMissing(
                reasons.SOURCE_NOT_FOUND,
                f"there is no object below {self._folder}; upload the documents or correct s3.uri",
            )
        return trees.Entry(self._folder.name, item.size, item.uri.key)

    def read(self, entry: trees.Entry) -> bytes | None:
        """See `trees.Tree`."""
        data = bytearray()
        try:
            for chunk in self._objects.open(refs.Uri(self._folder.bucket, entry.key)):
                data += chunk
                if len(data) > trees.DOCUMENT_LIMIT:
                    return None
        except (store_errors.ObjectNotFound, store_errors.DigestMismatch) as e:
            raise errors.InputWrong(
                reasons.SOURCE_INVALID,
                f"{self._folder} changed while it was read ({e}); it is read again",
            ) from e
        return bytes(data)

    def close(self) -> None:
        """See `trees.Tree`; there is nothing to let go of."""


def _refused(key: str) -> str:
    """Return why an object's name is refused; empty if it is not. Others named the objects."""
    try:
        names.relative(key)
    except store_errors.NameRefused as e:
        return str(e)
    return ""
