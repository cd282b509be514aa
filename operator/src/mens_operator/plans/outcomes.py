"""What a plan decides, what it knows besides the resource, and how long it waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mens_operator.plans import facts


@dataclass(frozen=True)
class Note:
    """An event to tell people."""

    warning: bool
    reason: str
    message: str


@dataclass(frozen=True)
class Removal:
    """An object to delete, unless its name meanwhile means another one."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Outcome:
    """All that should happen now. Applying it and planning again gives an empty one."""

    objects: tuple[Mapping[str, Any], ...] = ()
    """Children to apply, in order."""
    removals: tuple[Removal, ...] = ()
    """Objects to delete, before anything is applied."""
    status: Mapping[str, Any] | None = None
    """The whole status as it should be; None leaves it as it is."""
    notes: tuple[Note, ...] = ()
    """Events."""
    requeue_after: float | None = None
    """Seconds until something may be due without any event."""
    questions: tuple[facts.Question, ...] = ()
    """What was asked in vain; the edge reads it and plans again."""


@dataclass(frozen=True)
class Observed:
    """What is known about the world of one resource."""

    children: tuple[Mapping[str, Any], ...] = ()
    """Jobs, Pods, Deployments, Services with the resource's UID label."""
    references: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """Other resources of the namespace by (kind, name), as far as they exist."""
    answers: Mapping[facts.Question, facts.Answer] = field(default_factory=dict)
    """Facts of the store."""


@dataclass(frozen=True)
class Backoff:
    """Seconds before the next try: first, doubled each time, at most longest."""

    first: float
    longest: float

    def after(self, tries: int) -> float:
        """Return the pause after the n-th try (from 1)."""
        return min(self.first * 2.0 ** min(max(tries, 1) - 1, 30), self.longest)

    def since(self, age: float) -> float:
        """Return the pause for a trouble that has lasted so long: also doubling, from a clock."""
        return min(max(age, self.first), self.longest)


@dataclass(frozen=True)
class Policy:
    """How patient the operator is."""

    wrong_input: Backoff = Backoff(30, 600)
    """After a job said that its input is wrong, and for missing inputs."""
    storage: Backoff = Backoff(5, 120)
    """While the store cannot be used."""
    defect: Backoff = Backoff(10, 300)
    """After a defect."""
    preempted: Backoff = Backoff(2, 120)
    """After an eviction; the growing pause keeps a flapping node from being hammered."""
    start_grace: float = 3.0
    """How long a new Job may go without a running pod before that is said: most start faster, and
    the status is written once less."""
    stuck_grace: float = 30.0
    """How long a pod may outlive the grace of its deletion before its node is said to be lost: the
    kubelet kills at its end, and needs some seconds to say so."""
    contested: float = 60.0
    """Least seconds between two corrections of an object: somebody may write it all the time."""
    verdict_grace: float = 5.0
    """How long to wait for the pod of a failed Job to be seen: it says why, on another watch."""
    progress_interval: float = 15.0
    """How often progress is read and written."""
