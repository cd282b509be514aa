"""The reader for each source of the spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mens.api import corpus, reasons
from mens.artifacts import errors as store_errors
from mens.artifacts import refs, store
from mens.runtime import errors
from mens_corpus.readers import base, git, s3


def opener(
    objects: Callable[[], store.ObjectStore], scratch: Path
) -> Callable[[corpus.Source], base.Reader]:
    """Return a function that opens a source; the store is opened only for sources in S3."""

    def open_reader(source: corpus.Source) -> base.Reader:
        if source.git is not None:
            into = scratch / "git" / source.name
            return git.GitReader(source.git.url, source.git.revision, into)
        if source.s3 is None:
            raise errors.InvalidInputError(
                reasons.SPEC_INVALID,
                f"source {source.name} has neither s3 nor git; set one of them",
            )
        try:
            return s3.S3Reader(objects(), refs.Uri.parse(source.s3.uri))
        except store_errors.NameRefused as e:
            raise errors.InvalidInputError(
                reasons.SOURCE_INVALID, f"source {source.name}: {e}"
            ) from e

    return open_reader
