"""Why an attempt failed or has not started, by failure class."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mens.api import condition_types, reasons
from mens.runtime import jobs
from mens_operator.plans import children


class FailureClass(enum.Enum):
    """Decides whether and when another attempt follows; see `failure_policy`."""

    INVALID_INPUT = "invalid input"
    """The user must change an input. Retry slowly; does not count against the limit."""
    STORAGE = "storage"
    """Storage or network. Retry soon; does not count against the limit."""
    OUT_OF_MEMORY = "out of memory"
    """Retry with less memory, if the run has a way to use less."""
    INTERNAL = "internal"
    """A defect of the program. Retry up to `spec.retry.limit` times."""
    PREEMPTED = "preempted"
    """Eviction, preemption or deletion of the pod. Retry; does not count against the limit."""
    DEADLINE = "deadline"
    """The attempt took too long. Final."""
    PERMANENT = "permanent"
    """The same spec would fail again. Final until the spec changes."""


@dataclass(frozen=True)
class Failure:
    """The failure of one attempt."""

    failure_class: FailureClass
    reason: str
    message: str
    adapter: str | None = None
    """Name of the adapter that caused it, if one did."""


_BY_EXIT_CODE: Final = {
    jobs.ExitCode.INVALID_INPUT: FailureClass.INVALID_INPUT,
    jobs.ExitCode.STORAGE_ERROR: FailureClass.STORAGE,
    jobs.ExitCode.OUT_OF_MEMORY: FailureClass.OUT_OF_MEMORY,
    jobs.ExitCode.KILLED: FailureClass.OUT_OF_MEMORY,
    jobs.ExitCode.PREEMPTED: FailureClass.PREEMPTED,
}
"""Every other exit code is INTERNAL."""
_EXIT_CODES: Final = frozenset(int(code) for code in jobs.ExitCode)
_DEFAULT_REASON: Final = {
    FailureClass.INVALID_INPUT: reasons.FAILED,
    FailureClass.STORAGE: reasons.STORAGE_UNREACHABLE,
    FailureClass.OUT_OF_MEMORY: reasons.OUT_OF_MEMORY,
    FailureClass.INTERNAL: reasons.INTERNAL_ERROR,
    FailureClass.PREEMPTED: reasons.PREEMPTED,
}
"""Reason if the program could not report one."""

_PERMANENT: Final = frozenset({reasons.DIVERGED})
"""Reasons that depend on spec, seed and inputs alone: another attempt would fail again."""

_CONDITION: Final = {
    reasons.LICENSE_UNKNOWN: condition_types.LICENSE_CLEARED,
    reasons.LICENSE_NOT_ALLOWED: condition_types.LICENSE_CLEARED,
    reasons.STORAGE_UNREACHABLE: condition_types.STORAGE_READY,
    reasons.STORAGE_DENIED: condition_types.STORAGE_READY,
    reasons.BUCKET_NOT_FOUND: condition_types.STORAGE_READY,
}
"""The condition type that a reason belongs to; every other reason is about the run's own inputs."""


def condition_for(reason: str, default: str) -> str:
    """Return the type of the condition that a reason belongs to."""
    return _CONDITION.get(reason, default)


def of_job(job: children.Job, pods: Sequence[children.Pod]) -> Failure | None:
    """Return why a Job failed, judged by its own pods; None until one of them has ended."""
    if job.failed == "DeadlineExceeded":
        limit = f"spec.activeDeadlineSeconds ({job.deadline})"
        text = f"The attempt took longer than {limit}. Raise it and apply again."
        return Failure(FailureClass.DEADLINE, reasons.DEADLINE_EXCEEDED, text)
    for pod in reversed(pods):
        if pod.disruption is not None:
            text = children.sentence(pod.disruption)
            return Failure(FailureClass.PREEMPTED, reasons.PREEMPTED, text)
        if pod.volume_eviction is not None:
            text = f"{children.sentence(pod.volume_eviction)} Raise spec.resources.scratch."
            return Failure(FailureClass.INTERNAL, reasons.SCRATCH_FULL, text)
        if pod.terminated is not None and pod.finished:
            return of_container(pod.terminated)
    return None


def of_deleted_pod() -> Failure:
    """Return the failure of a Job whose pod was deleted before its end was seen."""
    text = "The pod was deleted before it ended."
    return Failure(FailureClass.PREEMPTED, reasons.PREEMPTED, text)


def of_container(terminated: children.Terminated) -> Failure:
    """Return why a container failed, from its exit code and its termination message."""
    code = terminated.exit_code
    failure_class = FailureClass.INTERNAL
    if code in _EXIT_CODES:
        failure_class = _BY_EXIT_CODE.get(jobs.ExitCode(code), FailureClass.INTERNAL)
    if terminated.reason == "OOMKilled":
        failure_class = FailureClass.OUT_OF_MEMORY
    reported = terminated.termination
    if reported is not None:
        if reported.reason in _PERMANENT:
            failure_class = FailureClass.PERMANENT
        message = children.sentence(reported.message)
        reason = _condition_reason(reported.reason, failure_class)
        return Failure(failure_class, reason, message, reported.adapter)
    if failure_class is FailureClass.OUT_OF_MEMORY:
        # The last log lines are about anything but memory: a killed process cannot write.
        text = f"The process was killed because it ran out of memory (exit code {code}). Raise"
        text = f"{text} spec.resources.memory."
        return Failure(failure_class, _DEFAULT_REASON[failure_class], text)
    log = children.log_excerpt(terminated.message)
    text = f"Exit code {code}" + (f" ({terminated.reason})" if terminated.reason else "")
    text = f"{text}: {log}" if log else text
    return Failure(failure_class, _DEFAULT_REASON[failure_class], children.sentence(text))


def _condition_reason(reason: str, failure_class: FailureClass) -> str:
    """Return the reported reason if a condition may have it, else the default of the class."""
    valid = reason.isalnum() and reason[:1].isupper() and reason.isascii() and len(reason) <= 128
    return reason if valid else _DEFAULT_REASON[failure_class]


def next_step(reason: str, job: children.Job, pod: children.Pod | None, namespace: str) -> str:
    """Return what the user can do about an attempt that has not started."""
    name = pod.name if pod else ""
    steps = {
        reasons.UNSCHEDULABLE: "Lower spec.resources, or add a node that provides them"
        f" (kubectl describe pod -n {namespace} {name}).",
        reasons.IMAGE_PULL_FAILED: "Make the image available to the node, or correct the"
        " operator's image setting.",
        reasons.POD_NOT_STARTED: f"See kubectl describe pod -n {namespace} {name}.",
    }
    waiting = "Waiting for the queue" if job.suspended else "Waiting for the pod to start"
    return steps.get(reason, f"{waiting} (kubectl describe job -n {namespace} {job.name}).")
