"""A source of the spec becomes a tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mens.api import corpus, reasons
from mens.artifacts import errors as store_errors
from mens.artifacts import refs, store
from mens_corpus import errors
from mens_corpus.readers import git, s3, trees


def opener(
    objects: Callable[[], store.ObjectStore], scratch: Path
) -> Callable[[corpus.Source], trees.Tree]:
    """Return what opens sources; the store is only asked for where a source lies in it."""

    def open_tree(source: corpus.Source) -> trees.Tree:
        if source.git is not None:
            into = scratch / "git" / source.name
            return git.CommitTree(source.git.url, source.git.revision, into)
        if source.s3 is None:
            raise errors.InputWrong(
                reasons.SPEC_INVALID, f"source {source.name} has neither s3 nor git; give one"
            )
        try:
            return s3.BucketTree(objects(), refs.Uri.parse(source.s3.uri))
        except store_errors.NameRefused as e:
            raise errors.InputWrong(reasons.SOURCE_INVALID, f"source {source.name}: {e}") from e

    return open_tree
