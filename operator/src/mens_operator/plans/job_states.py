"""The states of a run's Job, and what each one does to the status.

`follow` reads the state; one function for each state builds the outcome: queued, running, lost with
its node, waiting for another pod, verifying, succeeded, failed.
"""

from __future__ import annotations

from mens.api import condition_types, reasons, status
from mens.runtime import jobs
from mens_operator.plans import (
    children,
    conditions,
    facts,
    failure_policy,
    failures,
    outcomes,
    run_context,
    run_kinds,
)


def follow(run: run_context.RunContext, job: children.Job) -> outcomes.Outcome:
    """Reflect the state of a Job in the status."""
    run.status.adopt(job)
    if job.complete:
        return _verify(run, job)
    if job.failed is not None:
        return _failed(run, job)
    pods = run.observed.pods_of(job)
    # An evicted pod stays beside its replacement: prefer the one that may still work.
    pod = next((pod for pod in reversed(pods) if not pod.finished), pods[-1] if pods else None)
    if pod is not None and pod.is_stuck(run.now, run.policy.deletion_grace):
        return _node_lost(run, pod)
    if _is_running(run, job, pod):
        return _running(run, job, pod)
    left = run.remaining(run.policy.start_grace, job.created)
    if left > 0:
        return outcomes.Outcome(requeue_after=left)
    return _queued(run, job, pod)


def _is_running(run: run_context.RunContext, job: children.Job, pod: children.Pod | None) -> bool:
    if job.ready > 0 or (pod is not None and pod.phase != "Pending"):
        return True
    # A finished Job is for a moment neither active nor Complete: what was running stays running.
    was_running = run.status.previous.job_name == job.name and run.status.conditions.was(
        condition_types.RUNNING, conditions.TRUE
    )
    waits = pod is not None and pod.phase == "Pending" and pod.waiting is not None
    return was_running and not waits and not job.suspended


# -- before and while the pod runs -------------------------------------------------------------


def _queued(
    run: run_context.RunContext, job: children.Job, pod: children.Pod | None
) -> outcomes.Outcome:
    reason, message = reasons.QUEUED, job.message
    if pod is not None and pod.waiting is not None:
        reason, message = pod.waiting[0], children.sentence(pod.waiting[1])
    step = failures.next_step(reason, job, pod, run.namespace)
    text = f"{children.single_line(message)} {step}".strip()
    run.status.set_preconditions(inputs_proven=False)
    run.status.set_waiting(reason, f"{text} {run.status.keep_previous_failure(job)}".strip())
    return run.outcome(requeue_after=60.0)


def _running(
    run: run_context.RunContext, job: children.Job, pod: children.Pod | None
) -> outcomes.Outcome:
    logs = f"kubectl logs -n {run.namespace} -f job/{job.name}"
    name = pod.name if pod else "?"
    run.status.set_running(f"Attempt {job.attempt} is running in pod {name}: {logs}")
    progress = _progress(run, job)
    run.status.set_progress(progress)
    run.status.set_preconditions(inputs_proven=_inputs_proven(run, progress, job))
    delay = run.policy.progress_interval
    if pod is not None and pod.deletion_due is not None:
        delay = min(delay, run.until_stuck(pod))
    return run.outcome(requeue_after=delay)


def _progress(run: run_context.RunContext, job: children.Job) -> jobs.Progress | None:
    """Return the progress of this attempt; a file of an earlier attempt does not count."""
    progress = run.facts.progress(run.kind.output(job.key))
    if progress is not None and progress.attempt not in (0, job.attempt):
        return None
    return progress


def _inputs_proven(
    run: run_context.RunContext, progress: jobs.Progress | None, job: children.Job
) -> bool:
    """Return whether a step of this attempt proves its inputs; a file without number may be old.

    Once proven, the inputs of a Job stay proven while its progress cannot be read.
    """
    step = progress is not None and progress.step > 0 and progress.attempt == job.attempt
    proven = run.status.previous.job_name == job.name and run.status.conditions.was(
        run.kind.inputs_condition, conditions.TRUE
    )
    return run.kind.first_step_proves_inputs and (step or proven)


# -- pods that block the output ----------------------------------------------------------------


def wait_for_pod(
    run: run_context.RunContext,
    pod: children.Pod,
    removals: tuple[outcomes.Removal, ...],
) -> outcomes.Outcome:
    """Wait for a pod that may still write to the output: two writers would corrupt checkpoints.

    A deleted Job disappears at once. Its pod remains until the garbage collector deletes it and its
    grace period ends; until then, only the pod itself shows that it is there.
    """
    if pod.is_stuck(run.now, run.policy.deletion_grace):
        return _node_lost(run, pod, removals)
    text = (
        f"Pod {pod.name} of an earlier attempt has not ended yet. The next attempt starts when it"
        f" has. To end it now: kubectl delete pod -n {run.namespace} {pod.name}"
    )
    run.status.set_waiting(reasons.POD_ENDING, text)
    return run.outcome(removals=removals, requeue_after=run.until_stuck(pod))


def _node_lost(
    run: run_context.RunContext,
    pod: children.Pod,
    removals: tuple[outcomes.Removal, ...] = (),
) -> outcomes.Outcome:
    """Report a pod that can be neither used nor replaced: only the user knows if it still runs."""
    node, where = pod.node or "<name>", f"-n {run.namespace} {pod.name}"
    text = (
        f"Pod {pod.name} should have ended at {pod.deletion_due:%H:%M:%S} UTC, but node {node} does"
        f" not respond. Bring the node back. If it is off permanently, kubectl delete node {node}"
        f" (or kubectl delete pod {where} --force); the run then resumes."
    )
    run.status.set_waiting(reasons.NODE_LOST, text)
    return run.outcome(removals=removals, requeue_after=60.0)


# -- after the pod -----------------------------------------------------------------------------


def _verify(run: run_context.RunContext, job: children.Job) -> outcomes.Outcome:
    """Verify the output: a success is what the store holds, never an exit code."""
    answer = run.facts.output(run.kind.output(job.key), _reported_digest(run, job))
    if answer is None:
        return run.unanswered()
    if isinstance(answer, facts.Artifact):
        return _succeeded(run, job, answer)
    if answer.storage:
        return _verifying(run, answer)
    missing = answer.reason == reasons.OBJECT_NOT_FOUND
    failure = failures.Failure(
        failures.FailureClass.INTERNAL,
        reasons.OUTPUT_MISSING if missing else answer.reason,
        answer.message,
    )
    return failure_policy.record(run, job, failure)


def _reported_digest(run: run_context.RunContext, job: children.Job) -> str | None:
    """Return the digest of the artifact that the pod reports as published."""
    for pod in reversed(run.observed.pods_of(job)):
        if pod.terminated and pod.terminated.termination:
            artifact = pod.terminated.termination.artifact
            return str(artifact.digest) if artifact else None
    return None


def _verifying(run: run_context.RunContext, problem: facts.Problem) -> outcomes.Outcome:
    text = f"The Job is complete, but its output cannot be verified yet: {problem.message}"
    stated = run.status.conditions
    type_ = condition_types.STORAGE_READY
    stated.set(type_, conditions.FALSE, problem.reason, problem.message)
    stated.set(condition_types.SUCCEEDED, conditions.UNKNOWN, reasons.VERIFYING, text)
    run.status.set_idle(reasons.VERIFYING, "The Job is complete.")
    delay = run.policy.storage.for_age(stated.age(type_, conditions.FALSE))
    return run.outcome(requeue_after=delay)


def _succeeded(
    run: run_context.RunContext, job: children.Job, artifact: facts.Artifact
) -> outcomes.Outcome:
    manifest, folder = artifact.manifest, run.kind.output(job.key)
    run.status.set_progress(run.facts.progress(folder, final=True), done=True)
    run.status.update(
        completion_time=job.finished_at or run.now,
        artifact=status.Artifact(
            uri=folder, digest=str(artifact.digest), size_bytes=manifest.size_bytes
        ),
        compliance=run_kinds.compliance(artifact),
        lineage=run_kinds.lineage(artifact),
        **run.kind.result(artifact),
    )
    run.status.set_preconditions(inputs_proven=True)
    run.status.set_idle(reasons.SUCCEEDED, "The Job is complete.")
    published = f"Published {folder} as {artifact.digest}, verified."
    parts = (published, run.kind.doubts(artifact), run.kind.next_step)
    run.status.conditions.set(
        condition_types.SUCCEEDED,
        conditions.TRUE,
        reasons.SUCCEEDED,
        " ".join(part for part in parts if part),
    )
    text = f"{manifest.compliance.license_expression}: {manifest.compliance.license_class}."
    cleared = (conditions.TRUE, reasons.LICENSE_CLEARED, text)
    if artifact.license is not None:
        cleared = (conditions.FALSE, artifact.license.reason, artifact.license.message)
    run.status.conditions.set(condition_types.LICENSE_CLEARED, *cleared)
    ttl = run.kind.resource.spec.ttl_seconds_after_finished
    return run.outcome(requeue_after=None if ttl is None else float(ttl))


def _failed(run: run_context.RunContext, job: children.Job) -> outcomes.Outcome:
    failure = failures.of_job(job, run.observed.pods_of(job))
    if failure is None:
        left = run.remaining(run.policy.pod_status_grace, job.finished_at or job.created)
        if left > 0:
            return outcomes.Outcome(requeue_after=left)
        failure = failures.of_deleted_pod()
    return failure_policy.record(run, job, failure)
