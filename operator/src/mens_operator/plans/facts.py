"""Queries that a plan has about the object store, and their answers.

A plan never reads the store. It asks by query; the reconciler answers the open queries and plans
again. An answer that is not known yet is None, and every plan works without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mens.artifacts import digests, manifests
from mens.runtime import jobs


@dataclass(frozen=True)
class Storage:
    """Can the bucket be used? Answer: StorageReady or Problem."""

    bucket: str


@dataclass(frozen=True)
class BaseModel:
    """The manifest of a base model. Answer: Artifact or Problem."""

    uri: str


@dataclass(frozen=True)
class Output:
    """The verified artifact of a run, by digest if one is known. Answer: Artifact or Problem."""

    uri: str
    digest: str | None = None


@dataclass(frozen=True)
class Progress:
    """The progress file of a run. Answer: jobs.Progress or Problem."""

    uri: str
    final: bool = False
    """Whether the job has ended. An answer from before the end does not count then."""


Query: TypeAlias = Storage | BaseModel | Output | Progress


@dataclass(frozen=True)
class StorageReady:
    """The bucket can be read and written."""


@dataclass(frozen=True)
class Artifact:
    """A manifest that was read. For an Output, every file exists with its size as well."""

    manifest: manifests.Manifest
    digest: digests.Digest
    license: Problem | None = None
    """Why its license does not allow its use, judged again with the current license table."""


@dataclass(frozen=True)
class Problem:
    """Why an answer is not available, or what is wrong with the artifact."""

    reason: str
    message: str
    storage: bool = False
    """Whether the store itself is the cause, and not the artifact."""


Answer: TypeAlias = StorageReady | Artifact | Problem | jobs.Progress


@dataclass
class Facts:
    """The answers that are known; collects the queries that have no answer yet."""

    known: Mapping[Query, Answer]
    open: list[Query] = field(default_factory=list)

    def ask(self, query: Query) -> Answer | None:
        """Return the answer to a query; None if it is not known yet."""
        answer = self.known.get(query)
        if answer is None and query not in self.open:
            self.open.append(query)
        return answer

    def storage(self, bucket: str) -> StorageReady | Problem | None:
        """Return whether a bucket can be used."""
        answer = self.ask(Storage(bucket))
        return answer if isinstance(answer, StorageReady | Problem) else None

    def base_model(self, uri: str) -> Artifact | Problem | None:
        """Return a base model."""
        answer = self.ask(BaseModel(uri))
        return answer if isinstance(answer, Artifact | Problem) else None

    def output(self, uri: str, digest: str | None = None) -> Artifact | Problem | None:
        """Return the artifact that a run published."""
        answer = self.ask(Output(uri, digest))
        return answer if isinstance(answer, Artifact | Problem) else None

    def progress(self, uri: str, *, final: bool = False) -> jobs.Progress | None:
        """Return the progress of a run. A progress file that cannot be read has no consequences."""
        answer = self.ask(Progress(uri, final))
        return answer if isinstance(answer, jobs.Progress) else None
