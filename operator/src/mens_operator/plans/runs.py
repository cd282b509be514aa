"""The plan of a run: attempts that lead from a spec to a verified artifact.

Read `plan` from the top. The memory of a run is its status: `jobName` holds the key of the output
and the current attempt, `nextAttemptTime` is set once the failure of that attempt is recorded,
`completionTime` once the run is over. The pass that creates a Job writes no status, since the event
of the new Job follows at once: a run without failures costs one Job and two status writes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from mens.api import condition_types, kube, reasons
from mens_operator.manifests import batch, names
from mens_operator.plans import (
    children,
    conditions,
    facts,
    failures,
    job_states,
    outcomes,
    run_context,
    run_kinds,
)


def plan(
    kind: run_kinds.RunKind,
    observed: outcomes.Observed,
    *,
    now: datetime,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    """Decide what should exist for a run."""
    run = run_context.observe(kind, observed, now=now, policy=policy)
    if _is_over(run):
        return _keep_end(run)
    if kind.resource.spec.suspend:
        return _suspend(run)
    job = _live_job(run)
    if job is not None:
        return _replace(run, job) if _is_outdated(run, job) else job_states.follow(run, job)
    inputs = kind.inputs(observed.references, run.facts)
    if inputs is None:
        return run.unanswered()
    if not isinstance(inputs, run_kinds.Inputs):
        return _report_unmet(run, inputs)
    return _start(run, inputs)


# -- over? -------------------------------------------------------------------------------------


def _is_over(run: run_context.RunContext) -> bool:
    """Return whether the run has ended and its end is valid for the current spec."""
    previous, kind = run.status.previous, run.kind
    succeeded = run.status.conditions.was(condition_types.SUCCEEDED, conditions.TRUE)
    failed = run.status.conditions.was(condition_types.SUCCEEDED, conditions.FALSE)
    # Unknown with a completion time: an earlier spec ended so, and the current one waits.
    if previous.completion_time is None or not (succeeded or failed):
        return False
    if previous.observed_generation == kind.resource.metadata.generation:
        return True
    last = names.parse_job(previous.job_name)
    keys = {run_kinds.output_key(each, kind.recorded_digests) for each in kind.spec_hashes}
    return succeeded and last is not None and last[0] in keys


def _keep_end(run: run_context.RunContext) -> outcomes.Outcome:
    """Keep the end; delete the resource when its time to live is over."""
    meta = run.kind.resource.metadata
    ttl, ended = run.kind.resource.spec.ttl_seconds_after_finished, run.status.previous
    if ttl is None or ended.completion_time is None:
        return run.outcome()
    left = (ended.completion_time + timedelta(seconds=ttl) - run.now).total_seconds()
    if left > 0:
        return run.outcome(requeue_after=left)
    removal = outcomes.Removal(
        kube.API_VERSION, run.kind.resource.kind, meta.namespace, meta.name, meta.uid
    )
    return outcomes.Outcome(removals=(removal,))


# -- suspended? --------------------------------------------------------------------------------


def _suspend(run: run_context.RunContext) -> outcomes.Outcome:
    """Delete the unfinished Jobs; the same attempt resumes later from its checkpoint."""
    text = "spec.suspend is true. Set it to false to resume."
    run.status.set_idle(reasons.SUSPENDED, text)
    run.status.conditions.set(
        condition_types.SUCCEEDED, conditions.UNKNOWN, reasons.SUSPENDED, text
    )
    unfinished = [job for job in run.observed.jobs if not job.finished]
    return run.outcome(removals=run.removals(unfinished))


# -- live Job? ---------------------------------------------------------------------------------


def _live_job(run: run_context.RunContext) -> children.Job | None:
    """Return the Job of the current attempt: unfinished, or finished and not recorded yet."""
    recorded = _recorded_attempt(run)
    current = names.parse_job(run.status.previous.job_name)
    for job in reversed(run.observed.jobs):
        done = recorded and job.key == recorded[0] and job.attempt <= recorded[1]
        # An attempt without its own Job (suspended, deleted) must not fall back to the one before:
        # the failure of that one is counted already.
        older = current and job.key == current[0] and job.attempt < current[1]
        if job.spec_hash in run.kind.spec_hashes and not (job.deleting or done or older):
            return job
    return None


def _recorded_attempt(run: run_context.RunContext) -> tuple[str, int] | None:
    """Return key and number of the last attempt whose end is recorded in the status."""
    previous = run.status.previous
    recorded = previous.next_attempt_time is not None or previous.completion_time is not None
    return names.parse_job(previous.job_name) if recorded else None


def _is_outdated(run: run_context.RunContext, job: children.Job) -> bool:
    """Return whether a Job waits to start with pod settings that the spec no longer has.

    A pod that works keeps its resources: they do not change the output, and a restart would cost
    all its work. A pod that waits may be waiting for exactly this change.
    """
    if job.pod_settings_hash:
        current = job.pod_settings_hash == run.kind.pod_settings_hash
    else:
        current = job.spec_hash == run.kind.spec_hashes[-1]
    pods = run.observed.pods_of(job)
    # An evicted pod has ended; the question is whether its replacement works.
    working = any(pod.phase != "Pending" and not pod.finished for pod in pods)
    return not (current or job.ready > 0 or working or job.finished)


def _replace(run: run_context.RunContext, job: children.Job) -> outcomes.Outcome:
    """Delete a Job whose pod has not started; the same attempt follows with the current spec."""
    return outcomes.Outcome(removals=run.removals([job]), requeue_after=1.0)


# -- inputs? -----------------------------------------------------------------------------------


def _report_unmet(
    run: run_context.RunContext, unmet: tuple[run_kinds.UnmetPrecondition, ...]
) -> outcomes.Outcome:
    """Report the preconditions that are not met, and check them again with a growing delay."""
    delays, types = [], set()
    for each in reversed(unmet):  # The first one of a type is set last and stays.
        problem = each.problem
        type_ = failures.condition_for(problem.reason, each.condition_type)
        state = conditions.UNKNOWN if each.in_progress else conditions.FALSE
        run.status.conditions.set(type_, state, problem.reason, problem.message)
        backoff = run.policy.storage if problem.storage else run.policy.invalid_input
        delays.append(backoff.for_age(run.status.conditions.age(type_, state)))
        types.add(type_)
    run.status.reset_resolved(types)
    reason, message = unmet[0].problem.reason, unmet[0].problem.message
    run.status.conditions.set(condition_types.SUCCEEDED, conditions.UNKNOWN, reason, message)
    run.status.set_idle(reason, message)
    outdated = [
        job
        for job in run.observed.jobs
        if job.spec_hash not in run.kind.spec_hashes and not job.finished
    ]
    return run.outcome(removals=run.removals(outdated), requeue_after=min(delays))


# -- start -------------------------------------------------------------------------------------


def _start(run: run_context.RunContext, inputs: run_kinds.Inputs) -> outcomes.Outcome:
    """Create the Job of the next attempt once it is due and the storage is ready."""
    attempt = _next_attempt(run, inputs)
    left = _backoff_left(run, attempt)
    if left > 0:
        return run.outcome(requeue_after=left)
    storage = run.facts.storage(run.kind.bucket)
    if storage is None:
        return run.unanswered()
    if isinstance(storage, facts.Problem):
        unmet = run_kinds.UnmetPrecondition(condition_types.STORAGE_READY, storage)
        return _report_unmet(run, (unmet,))
    removals = run.removals(
        job
        for job in run.observed.jobs
        if job.key != attempt.key or job.attempt < attempt.number - 1
    )
    writers = [pod for pod in run.observed.pods if pod.may_write(attempt.key)]
    if writers:
        return job_states.wait_for_pod(run, writers[0], removals)
    name = names.job(run.kind.resource.metadata.name, attempt.key, attempt.number)
    if any(job.name == name and job.deleting for job in run.observed.jobs):
        return outcomes.Outcome(removals=removals, requeue_after=2.0)
    return outcomes.Outcome(
        objects=(run.kind.job(attempt, inputs),),
        removals=removals,
        requeue_after=run.policy.start_grace,
    )


def _next_attempt(run: run_context.RunContext, inputs: run_kinds.Inputs) -> batch.Attempt:
    """Return the attempt that comes next for these inputs."""
    digests = [str(ref.digest) for ref in inputs.artifacts]
    keys = [(run_kinds.output_key(each, digests), each) for each in run.kind.spec_hashes]
    current = names.parse_job(run.status.previous.job_name)
    # A run that an earlier version started keeps its key.
    key, spec_hash = next((pair for pair in keys if current and pair[0] == current[0]), keys[0])
    # An attempt whose end is not recorded resumes under its own number.
    number = current[1] if current and current[0] == key else 1
    recorded = _recorded_attempt(run)
    number += 1 if recorded and recorded[0] == key else 0
    return batch.Attempt(key, spec_hash, run.kind.pod_settings_hash, number)


def _backoff_left(run: run_context.RunContext, attempt: batch.Attempt) -> float:
    """Return the seconds until an attempt is due; a changed spec ends the backoff."""
    previous = run.status.previous
    if attempt.number == 1 or previous.next_attempt_time is None:
        return 0.0
    left = (previous.next_attempt_time - run.now).total_seconds()
    changed = previous.observed_generation != run.kind.resource.metadata.generation
    if left > 0 and not changed:
        return left
    # Record that the backoff is over for this spec, whatever else the attempt waits for.
    run.status.update(
        next_attempt_time=min(previous.next_attempt_time, run.now.replace(microsecond=0))
    )
    return 0.0
