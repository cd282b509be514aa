"""Builds the status of a run: keeps what it was, changes fields, sets conditions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pydantic

from mens.api import condition_types, reasons, status
from mens.runtime import jobs
from mens_operator.manifests import names
from mens_operator.plans import children, conditions, outcomes, run_kinds


class Builder:
    """The status of one run while a plan works on it."""

    def __init__(self, kind: run_kinds.RunKind, now: datetime) -> None:
        self._kind = kind
        self._generation = kind.resource.metadata.generation
        self.previous: status.RunStatus = kind.resource.status
        """The status before this plan."""
        self.conditions = conditions.ConditionSet(
            self.previous.conditions, kind.status_conditions, generation=self._generation, now=now
        )
        self._changes: dict[str, Any] = {}

    @property
    def changes(self) -> Mapping[str, Any]:
        """The fields that this plan has changed so far."""
        return self._changes

    @property
    def attempts(self) -> int:
        """Attempts that count against the retry limit."""
        return int(self._changes.get("attempts", self.previous.attempts))

    def update(self, **fields: Any) -> None:
        """Change fields."""
        self._changes |= fields

    def adopt(self, job: children.Job) -> None:
        """Make a Job the current attempt; a Job with another key starts a new count."""
        previous = self.previous
        last = names.parse_job(previous.job_name)
        self._changes = {"job_name": job.name, "next_attempt_time": None}
        if previous.job_name != job.name:
            self._changes["progress"] = None  # It belongs to another attempt.
        if last is None or last[0] != job.key or previous.completion_time is not None:
            kept = {"conditions", "observed_generation"}
            defaults = {
                name: field.get_default()
                for name, field in type(previous).model_fields.items()
                if name not in kept
            }
            self._changes = {**defaults, **self._changes, "start_time": job.created}

    def set_progress(self, progress: jobs.Progress | None, *, done: bool = False) -> None:
        """Copy the progress; values that the API does not allow are ignored."""
        if progress is not None:
            with contextlib.suppress(pydantic.ValidationError):
                self.update(progress=status.Progress.model_validate(progress.model_dump()))
        current = self._changes.get("progress", self.previous.progress)
        if done and current is not None:
            finished = {"stage": "Done", "eta_seconds": None}
            self.update(progress=current.model_copy(update=finished))

    def set_waiting(self, reason: str, message: str) -> None:
        """Set the conditions of a run that waits for its pod."""
        self.conditions.set(condition_types.QUEUED, conditions.TRUE, reason, message)
        self.conditions.set(condition_types.RUNNING, conditions.FALSE, reason, message)
        self.conditions.set(condition_types.SUCCEEDED, conditions.UNKNOWN, reason, message)

    def set_running(self, message: str) -> None:
        """Set the conditions of a run whose pod is running."""
        reason = reasons.RUNNING
        self.conditions.set(condition_types.RUNNING, conditions.TRUE, reason, message)
        self.conditions.set(condition_types.QUEUED, conditions.FALSE, reason, "The pod is running.")
        self.conditions.set(condition_types.SUCCEEDED, conditions.UNKNOWN, reason, message)

    def set_idle(self, reason: str, message: str) -> None:
        """Set the conditions of a run that neither waits for a pod nor has one running."""
        self.conditions.set(condition_types.QUEUED, conditions.FALSE, reason, message)
        self.conditions.set(condition_types.RUNNING, conditions.FALSE, reason, message)

    def set_preconditions(self, *, inputs_proven: bool) -> None:
        """Set the conditions that a Job's existence proves; inputs only if it has used them."""
        inputs = self._kind.inputs_condition
        for type_, (reason, message) in self._kind.preconditions.items():
            if type_ != inputs or inputs_proven:
                self.conditions.set(type_, conditions.TRUE, reason, message)
        if not inputs_proven:
            message = "The Job validates its inputs when it starts."
            self.conditions.set(inputs, conditions.UNKNOWN, reasons.PENDING, message)
        if condition_types.LICENSE_CLEARED not in self._kind.preconditions:
            message = "The Job determines the license of each input."
            self.conditions.set(
                condition_types.LICENSE_CLEARED, conditions.UNKNOWN, reasons.PENDING, message
            )

    def reset_resolved(self, unmet: set[str]) -> None:
        """Reset the conditions that were False and are not among the unmet ones any more."""
        message = "The earlier problem is resolved; waiting for the next attempt."
        for type_ in {*self._kind.preconditions, condition_types.LICENSE_CLEARED} - unmet:
            if self.conditions.was(type_, conditions.FALSE):
                self.conditions.set(type_, conditions.UNKNOWN, reasons.PENDING, message)

    def keep_previous_failure(self, job: children.Job) -> str:
        """Keep the False conditions of the previous attempt, and return them as a sentence.

        A user who only reads that the next attempt waits for a node would look for nodes only.
        """
        if job.attempt == 1:
            return ""
        causes = []
        for type_ in (*self._kind.preconditions, condition_types.LICENSE_CLEARED):
            previous = self.conditions.previous(type_)
            if previous is not None and previous.status is conditions.FALSE:
                self.conditions.set(type_, conditions.FALSE, previous.reason, previous.message)
                causes.append(f"{previous.reason}: {previous.message}")
        text = " ".join(dict.fromkeys(causes))
        return f"Attempt {job.attempt - 1} failed with {text}" if text else ""

    def build(self) -> dict[str, Any]:
        """Return the status as JSON."""
        return self.previous.model_copy(
            update={
                **self._changes,
                "observed_generation": self._generation,
                "conditions": self.conditions.build(),
            }
        ).wire()

    def events(self) -> tuple[outcomes.Event, ...]:
        """Return the event that this status calls for."""
        return self.conditions.events(condition_types.SUCCEEDED)
