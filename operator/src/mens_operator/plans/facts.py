"""What a plan may want to know about the store, and what it may be told.

A plan asks by value and never reads: the edge reads what was asked, and plans again. A fact that
is not known yet is None, and every plan can live with that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mens.artifacts import digests, manifests
from mens.runtime import jobs


@dataclass(frozen=True)
class Storage:
    """Does the bucket work? Answer: Works or Trouble."""

    bucket: str


@dataclass(frozen=True)
class Base:
    """The manifest of a base model. Answer: Artifact or Trouble."""

    uri: str


@dataclass(frozen=True)
class Output:
    """The verified artifact of a run, by digest where one is known. Answer: Artifact or Trouble."""

    uri: str
    digest: str | None = None


@dataclass(frozen=True)
class Progress:
    """The progress file of a run. Answer: jobs.Progress or Trouble."""

    uri: str
    final: bool = False
    """Whether the job has ended: an answer from before that does not count."""


Question: TypeAlias = Storage | Base | Output | Progress


@dataclass(frozen=True)
class Works:
    """The bucket can be read and written."""


@dataclass(frozen=True)
class Artifact:
    """A manifest that was read; for an Output every file was found with its size as well."""

    manifest: manifests.Manifest
    digest: digests.Digest
    license: Trouble | None = None
    """Why its license does not allow using it; judged anew, with today's table."""


@dataclass(frozen=True)
class Trouble:
    """Why it cannot be known or is not as it should be."""

    reason: str
    message: str
    storage: bool = False
    """Whether the store itself is the cause, so that nobody need look at the artifact."""


Answer: TypeAlias = Works | Artifact | Trouble | jobs.Progress


@dataclass
class Facts:
    """The answers so far; remembers what was asked in vain."""

    known: Mapping[Question, Answer]
    asked: list[Question] = field(default_factory=list)

    def ask(self, question: Question) -> Any:
        """Return the answer, None if it is not known yet."""
        answer = self.known.get(question)
        if answer is None and question not in self.asked:
            self.asked.append(question)
        return answer

    def storage(self, bucket: str) -> Works | Trouble | None:
        """Ask about a bucket."""
        answer = self.ask(Storage(bucket))
        return answer if isinstance(answer, Works | Trouble) else None

    def base(self, uri: str) -> Artifact | Trouble | None:
        """Ask about a base model."""
        answer = self.ask(Base(uri))
        return answer if isinstance(answer, Artifact | Trouble) else None

    def output(self, uri: str, digest: str | None = None) -> Artifact | Trouble | None:
        """Ask about what a run published."""
        answer = self.ask(Output(uri, digest))
        return answer if isinstance(answer, Artifact | Trouble) else None

    def progress(self, uri: str, *, final: bool = False) -> jobs.Progress | None:
        """Ask how far a run is; trouble with progress troubles nobody."""
        answer = self.ask(Progress(uri, final))
        return answer if isinstance(answer, jobs.Progress) else None
