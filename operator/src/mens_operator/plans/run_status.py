"""The status of a run while a plan works on it: what is kept, what changes, what is said."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any, Generic

import pydantic

from mens.api import condition_types, reasons, status
from mens.runtime import jobs
from mens_operator.manifests import names
from mens_operator.plans import children, conditions, facts, outcomes, run_kinds


class Telling(Generic[run_kinds.StatusT]):
    """What is known about one run, and the words for it."""

    def __init__(
        self,
        given: run_kinds.Terms[run_kinds.StatusT],
        observed: outcomes.Observed,
        *,
        now: datetime,
        policy: outcomes.Policy,
    ) -> None:
        self.terms = given
        self.policy = policy
        self.now = now
        self.facts = facts.Facts(observed.answers)
        self.children = children.children(observed.children, given.metadata)
        self.draft = conditions.Draft(
            given.status.conditions,
            given.types,
            generation=given.metadata.generation,
            now=now,
        )
        self._changes: dict[str, Any] = {}

    def _adopt(self, job: children.Job) -> None:
        """Take over an attempt; one of other inputs begins a new count."""
        before = self.terms.status
        last = names.parse_job(before.job_name)
        self._changes = {"job_name": job.name, "next_attempt_time": None}
        if before.job_name != job.name:
            self._changes["progress"] = None  # of another attempt
        fresh = {"start_time": job.created, "attempts": 0, "completion_time": None}
        if last is None or last[0] != job.key or before.completion_time is not None:
            kept = {"conditions", "observed_generation"}
            gone = {
                name: field.get_default()
                for name, field in type(before).model_fields.items()
                if name not in kept
            }
            self._changes = {**gone, **self._changes, **fresh}

    def _waiting(self, reason: str, text: str) -> None:
        self.draft.set(condition_types.QUEUED, conditions.TRUE, reason, text)
        self.draft.set(condition_types.RUNNING, conditions.FALSE, reason, text)
        self.draft.set(condition_types.SUCCEEDED, conditions.UNKNOWN, reason, text)

    def _left(self, grace: float, since: datetime) -> float:
        """Return what is left of a grace; none if our clock is behind that of the API server."""
        age = (self.now - since).total_seconds()
        return grace - age if age >= 0 else 0.0

    def _until_stuck(self, pod: children.Pod) -> float:
        """Return the seconds until a pod that is being deleted counts as stuck."""
        if pod.due is None:
            return 5.0  # The garbage collector comes to it within seconds.
        left = (pod.due - self.now).total_seconds() + self.policy.stuck_grace
        return max(left + 1.0, 1.0)

    def _withdraw(self, standing: set[str]) -> None:
        """Take back what stood in the way before and does not now."""
        text = "What was said before is gone; the next attempt tells."
        for type_ in {*self.terms.cleared, condition_types.LICENSE_CLEARED} - standing:
            if self.draft.was(type_, conditions.FALSE):
                self.draft.set(type_, conditions.UNKNOWN, reasons.PENDING, text)

    def _attempts(self) -> int:
        return int(self._changes.get("attempts", self.terms.status.attempts))

    def _mirror(self, progress: jobs.Progress | None, *, done: bool = False) -> None:
        """Take over figures; those that the API does not allow are worth no run."""
        if progress is not None:
            with contextlib.suppress(pydantic.ValidationError):
                self._changes["progress"] = status.Progress.model_validate(progress.model_dump())
        shown = self._changes.get("progress", self.terms.status.progress)
        if done and shown is not None:
            over = {"stage": "Done", "eta_seconds": None}
            self._changes["progress"] = shown.model_copy(update=over)

    def _idle(self, reason: str, text: str) -> None:
        self.draft.set(condition_types.QUEUED, conditions.FALSE, reason, text)
        self.draft.set(condition_types.RUNNING, conditions.FALSE, reason, text)

    def _clear(self, *, working: bool) -> None:
        """State what the existence of a Job proves, and the inputs once it has used them."""
        for type_, (reason, text) in self.terms.cleared.items():
            if type_ != self.terms.inputs_type or working:
                self.draft.set(type_, conditions.TRUE, reason, text)
        if not working:
            text = "The Job checks its inputs first."
            self.draft.set(self.terms.inputs_type, conditions.UNKNOWN, reasons.PENDING, text)
        if condition_types.LICENSE_CLEARED not in self.terms.cleared:
            text = "The Job reads each input's license."
            self.draft.set(
                condition_types.LICENSE_CLEARED, conditions.UNKNOWN, reasons.PENDING, text
            )

    def _keep_cause(self, job: children.Job) -> str:
        """Leave what the attempt before ran into as it stands, and return it in words.

        Whoever reads that the next attempt waits for a node would look for nodes only.
        """
        if job.attempt == 1:
            return ""
        words = []
        for type_ in (*self.terms.cleared, condition_types.LICENSE_CLEARED):
            old = self.draft.before(type_)
            if old is not None and old.status is conditions.FALSE:
                self.draft.set(type_, conditions.FALSE, old.reason, old.message)
                words.append(f"{old.reason}: {old.message}")
        causes = " ".join(dict.fromkeys(words))
        return f"Attempt {job.attempt - 1} ended with {causes}" if causes else ""

    def _removals(self, jobs: list[children.Job]) -> tuple[outcomes.Removal, ...]:
        namespace = self.terms.metadata.namespace
        return tuple(
            outcomes.Removal("batch/v1", "Job", namespace, job.name, job.uid)
            for job in jobs
            if not job.deleting
        )

    def _outcome(
        self,
        *,
        removals: tuple[outcomes.Removal, ...] = (),
        requeue_after: float | None = None,
    ) -> outcomes.Outcome:
        written = self.terms.status.model_copy(
            update={
                **self._changes,
                "observed_generation": self.terms.metadata.generation,
                "conditions": self.draft.done(),
            }
        )
        return outcomes.Outcome(
            removals=removals,
            status=written.wire(),
            notes=self.draft.notes(condition_types.SUCCEEDED),
            requeue_after=requeue_after,
            questions=tuple(self.facts.asked),
        )
