"""What a plan decides, what it knows about the cluster, and how long it waits before it retries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mens_operator.plans import facts


@dataclass(frozen=True)
class Event:
    """A Kubernetes event to record about the resource."""

    warning: bool
    """Whether its type is Warning; Normal otherwise."""
    reason: str
    message: str


@dataclass(frozen=True)
class Removal:
    """An object to delete, unless its name belongs to an object with another UID by now."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Outcome:
    """Everything to do now. Law: after it is applied, the next plan changes nothing."""

    objects: tuple[Mapping[str, Any], ...] = ()
    """Children to apply, in order."""
    removals: tuple[Removal, ...] = ()
    """Objects to delete, before anything is applied."""
    status: Mapping[str, Any] | None = None
    """The complete desired status; None leaves the status unchanged."""
    events: tuple[Event, ...] = ()
    """Events to record after the status is written."""
    requeue_after: float | None = None
    """Seconds until the resource must be planned again even if nothing changes; None: never."""
    queries: tuple[facts.Query, ...] = ()
    """Store queries without an answer yet. The reconciler answers them and plans again."""


@dataclass(frozen=True)
class Observed:
    """What is known about the surroundings of one resource."""

    children: tuple[Mapping[str, Any], ...] = ()
    """Jobs, Pods, Deployments and Services with the resource's UID label."""
    references: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """Other resources of the namespace by (kind, name), if they exist."""
    answers: Mapping[facts.Query, facts.Answer] = field(default_factory=dict)
    """Answers to store queries."""


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff in seconds: starts at `initial`, doubles, stops at `maximum`."""

    initial: float
    maximum: float

    def after(self, attempts: int) -> float:
        """Return the delay after the n-th attempt (from 1)."""
        return min(self.initial * 2.0 ** min(max(attempts, 1) - 1, 30), self.maximum)

    def for_age(self, age: float) -> float:
        """Return the delay for a problem that has lasted `age` seconds; it doubles over time."""
        return min(max(age, self.initial), self.maximum)


@dataclass(frozen=True)
class Policy:
    """Delays and grace periods in seconds."""

    invalid_input: Backoff = Backoff(30, 600)
    """After a job reported an invalid input, and while an input is missing."""
    storage: Backoff = Backoff(5, 120)
    """While the object store cannot be used."""
    internal_error: Backoff = Backoff(10, 300)
    """After a defect of the program."""
    preempted: Backoff = Backoff(2, 120)
    """After an eviction or preemption. The delay grows, so a flapping node is not flooded with
    pods."""
    start_grace: float = 3.0
    """How long a new Job may be without a running pod before the status shows it as queued. Most
    pods start faster, which saves one status write."""
    deletion_grace: float = 30.0
    """How long a pod may outlive its deletion grace period before its node counts as lost. The
    kubelet kills the container at the end of the period and needs some seconds to report it."""
    correction_interval: float = 60.0
    """Minimum time between two corrections of one object: another client may write the field all
    the time."""
    pod_status_grace: float = 5.0
    """How long to wait for the pod of a failed Job: it holds the cause and arrives on another
    watch."""
    progress_interval: float = 15.0
    """How often progress is read and written."""
