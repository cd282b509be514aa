"""What one pass of planning a run works with, and the outcomes that all its steps share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mens_operator.plans import children, facts, outcomes, run_kinds, run_status


@dataclass(frozen=True)
class RunContext:
    """One run, its surroundings, and the status under construction."""

    kind: run_kinds.RunKind
    observed: children.Children
    """Its Jobs and pods."""
    facts: facts.Facts
    status: run_status.Builder
    now: datetime
    policy: outcomes.Policy

    @property
    def namespace(self) -> str:
        """Namespace of the run and of its Jobs."""
        return self.kind.resource.metadata.namespace

    def outcome(
        self,
        *,
        removals: tuple[outcomes.Removal, ...] = (),
        requeue_after: float | None = None,
    ) -> outcomes.Outcome:
        """Return an outcome that writes the status."""
        return outcomes.Outcome(
            removals=removals,
            status=self.status.build(),
            events=self.status.events(),
            requeue_after=requeue_after,
            queries=tuple(self.facts.open),
        )

    def unanswered(self) -> outcomes.Outcome:
        """Return the outcome while queries are open: nothing is known that could be written."""
        return outcomes.Outcome(queries=tuple(self.facts.open), requeue_after=1.0)

    def removals(self, jobs: Iterable[children.Job]) -> tuple[outcomes.Removal, ...]:
        """Return the removals of Jobs, without those that are being deleted."""
        return tuple(
            outcomes.Removal("batch/v1", "Job", self.namespace, job.name, job.uid)
            for job in jobs
            if not job.deleting
        )

    def remaining(self, grace: float, since: datetime) -> float:
        """Return the rest of a grace period; 0 if our clock is behind that of the API server."""
        age = (self.now - since).total_seconds()
        return grace - age if age >= 0 else 0.0

    def until_stuck(self, pod: children.Pod) -> float:
        """Return the seconds until a pod that is being deleted counts as stuck."""
        if pod.deletion_due is None:
            return 5.0  # The garbage collector deletes it within seconds.
        left = (pod.deletion_due - self.now).total_seconds() + self.policy.deletion_grace
        return max(left + 1.0, 1.0)


def observe(
    kind: run_kinds.RunKind,
    observed: outcomes.Observed,
    *,
    now: datetime,
    policy: outcomes.Policy,
) -> RunContext:
    """Return the context of a run from what is observed."""
    return RunContext(
        kind=kind,
        observed=children.parse(observed.children, kind.resource.metadata),
        facts=facts.Facts(observed.answers),
        status=run_status.Builder(kind, now),
        now=now,
        policy=policy,
    )
