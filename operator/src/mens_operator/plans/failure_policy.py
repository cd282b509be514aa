"""The failure policy of runs: whether another attempt follows a failed one, and when."""

from __future__ import annotations

from datetime import datetime, timedelta

from mens.api import condition_types, reasons
from mens_operator.plans import children, conditions, failures, outcomes, run_context


def record(
    run: run_context.RunContext, job: children.Job, failure: failures.Failure
) -> outcomes.Outcome:
    """Record the failure of an attempt: the run fails, or the next attempt gets its time."""
    run.status.set_idle(failure.reason, failure.message)
    for type_, (reason, text) in run.kind.preconditions.items():
        if type_ != run.kind.inputs_condition:
            run.status.conditions.set(type_, conditions.TRUE, reason, text)
    end = _end_or_count(run, job, failure)
    if end is not None:
        run.status.update(completion_time=job.finished_at or run.now)
        run.status.conditions.set(condition_types.SUCCEEDED, conditions.FALSE, *end)
        return run.outcome()
    due = _due(run, job, failure)
    run.status.update(next_attempt_time=due)
    if failure.failure_class in (
        failures.FailureClass.INVALID_INPUT,
        failures.FailureClass.STORAGE,
    ):
        type_ = failures.condition_for(failure.reason, run.kind.inputs_condition)
        run.status.conditions.set(type_, conditions.FALSE, failure.reason, failure.message)
    text = f"{failure.message} Attempt {job.attempt + 1} starts at {due:%H:%M:%S} UTC"
    smaller = run.status.changes.get("micro_batch_size")
    text += f" with schedule.microBatchSize {smaller}." if smaller else "."
    run.status.conditions.set(condition_types.SUCCEEDED, conditions.UNKNOWN, failure.reason, text)
    return run.outcome(requeue_after=(due - run.now).total_seconds())


def _end_or_count(
    run: run_context.RunContext, job: children.Job, failure: failures.Failure
) -> tuple[str, str] | None:
    """Count the attempt if its class counts; return reason and message if no other follows."""
    failure_class = failure.failure_class
    if failure_class is failures.FailureClass.PERMANENT:
        return failure.reason, failure.message
    if failure_class is failures.FailureClass.DEADLINE:
        # The Job keeps the deadline that it was created with; a changed one gives a new attempt.
        same = job.deadline == run.kind.resource.spec.active_deadline_seconds
        return (failure.reason, failure.message) if same else None
    if failure_class is failures.FailureClass.OUT_OF_MEMORY:
        less = run.kind.less_memory(run.status.changes)
        if less is not None:
            run.status.update(**less)
            return None
    if failure_class not in (failures.FailureClass.INTERNAL, failures.FailureClass.OUT_OF_MEMORY):
        return None
    return _count_against_limit(run, job, failure)


def _count_against_limit(
    run: run_context.RunContext, job: children.Job, failure: failures.Failure
) -> tuple[str, str] | None:
    attempts, limit = run.status.attempts + 1, run.kind.resource.spec.retry.limit
    run.status.update(attempts=attempts)
    if attempts <= limit:
        return None
    text = f"{failure.message} That was attempt {attempts} of {limit + 1}."
    if failure.failure_class is failures.FailureClass.OUT_OF_MEMORY:
        return failure.reason, text
    logs = f"See kubectl logs -n {run.namespace} job/{job.name}."
    return reasons.RETRIES_EXHAUSTED, f"{text} {logs}"


def _due(run: run_context.RunContext, job: children.Job, failure: failures.Failure) -> datetime:
    """Return when the next attempt starts: after the backoff of the class, and in the future."""
    backoffs = {
        failures.FailureClass.INVALID_INPUT: run.policy.invalid_input,
        failures.FailureClass.STORAGE: run.policy.storage,
        failures.FailureClass.PREEMPTED: run.policy.preempted,
    }
    backoff = backoffs.get(failure.failure_class, run.policy.internal_error)
    ended = min(job.finished_at or run.now, run.now)
    due = (ended + timedelta(seconds=backoff.after(job.attempt))).replace(microsecond=0)
    return due if due > run.now else run.now.replace(microsecond=0) + timedelta(seconds=1)
