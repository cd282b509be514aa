"""Why an attempt ended early or has not begun, and what that calls for."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mens.api import condition_types, reasons
from mens.runtime import jobs
from mens_operator.plans import children


class Class(enum.Enum):
    """What to do about it."""

    WRONG_INPUT = "wrong input"
    """Somebody must change something; try again slowly."""
    STORAGE = "storage"
    """Try again soon."""
    MEMORY = "memory"
    """Try again with less."""
    DEFECT = "defect"
    """Try again, but not for ever."""
    PREEMPTED = "preempted"
    """Nobody's fault: try again, does not count."""
    DEADLINE = "deadline"
    """It took too long: the end."""
    POINTLESS = "pointless"
    """The same spec would end so again: the end, until it is changed."""


@dataclass(frozen=True)
class Verdict:
    """The ending of an attempt."""

    kind: Class
    reason: str
    message: str
    adapter: str | None = None
    """Name of the adapter that it is about, if it is about one."""


_BY_CODE: Final = {
    jobs.ExitCode.INPUT_WRONG: Class.WRONG_INPUT,
    jobs.ExitCode.STORAGE_TROUBLE: Class.STORAGE,
    jobs.ExitCode.OUT_OF_MEMORY: Class.MEMORY,
    jobs.ExitCode.KILLED: Class.MEMORY,
    jobs.ExitCode.PREEMPTED: Class.PREEMPTED,
}
"""Every other code is a defect."""
_FALLBACK: Final = {
    Class.WRONG_INPUT: reasons.FAILED,
    Class.STORAGE: reasons.STORAGE_UNREACHABLE,
    Class.MEMORY: reasons.OUT_OF_MEMORY,
    Class.DEFECT: reasons.INTERNAL_ERROR,
    Class.PREEMPTED: reasons.PREEMPTED,
}
"""Reason where the program could not say one."""

_POINTLESS: Final = frozenset({reasons.DIVERGED})
"""Reasons that depend on spec, seed and inputs alone: another attempt would end the same."""

_CONDITION: Final = {
    reasons.LICENSE_UNKNOWN: condition_types.LICENSE_CLEARED,
    reasons.LICENSE_NOT_ALLOWED: condition_types.LICENSE_CLEARED,
    reasons.STORAGE_UNREACHABLE: condition_types.STORAGE_READY,
    reasons.STORAGE_DENIED: condition_types.STORAGE_READY,
    reasons.BUCKET_NOT_FOUND: condition_types.STORAGE_READY,
}
"""Which condition a reason answers; every other reason is about the run's own inputs."""


def condition_of(reason: str, otherwise: str) -> str:
    """Return the type of the condition that a reason belongs to."""
    return _CONDITION.get(reason, otherwise)


def verdict(job: children.Job, pods: Sequence[children.Pod]) -> Verdict | None:
    """Judge a failed Job by its own pods; None while no pod of it has been seen to end."""
    if job.failed == "DeadlineExceeded":
        limit = f"spec.activeDeadlineSeconds ({job.deadline})"
        text = f"The attempt took longer than {limit}: raise it and apply again."
        return Verdict(Class.DEADLINE, reasons.DEADLINE_EXCEEDED, text)
    for pod in reversed(pods):
        if pod.disrupted is not None:
            return Verdict(Class.PREEMPTED, reasons.PREEMPTED, children.sentence(pod.disrupted))
        if pod.overflowed is not None:
            text = f"{children.sentence(pod.overflowed)} Raise spec.resources.scratch."
            return Verdict(Class.DEFECT, reasons.SCRATCH_FULL, text)
        if pod.ended is not None and pod.finished:
            return of_container(pod.ended)
    return None


def step(reason: str, job: children.Job, pod: children.Pod | None, namespace: str) -> str:
    """Return what a person can do about an attempt that has not begun."""
    name = pod.name if pod else ""
    steps = {
        reasons.UNSCHEDULABLE: "Lower spec.resources or add a node that has them"
        f" (kubectl describe pod -n {namespace} {name}).",
        reasons.IMAGE_PULL_FAILED: "Make the image available to the node, or correct the"
        " operator's image setting.",
        reasons.POD_NOT_STARTED: f"See kubectl describe pod -n {namespace} {name}.",
    }
    waiting = "Waiting for the queue" if job.suspended else "Waiting for a pod to start"
    return steps.get(reason, f"{waiting} (kubectl describe job -n {namespace} {job.name}).")


def lost() -> Verdict:
    """Return the verdict on a failed Job whose pod nobody saw: it was deleted."""
    return Verdict(Class.PREEMPTED, reasons.PREEMPTED, "The pod was deleted before it ended.")


def of_container(ended: children.Ended) -> Verdict:
    """Judge the end of a container by exit code and termination message."""
    kind = _BY_CODE.get(jobs.ExitCode(ended.code)) if ended.code in _CODES else None
    if ended.reason == "OOMKilled":
        kind = Class.MEMORY
    kind = kind or Class.DEFECT
    said = ended.termination
    if said is not None:
        kind = Class.POINTLESS if said.reason in _POINTLESS else kind
        words = children.sentence(said.message)
        return Verdict(kind, _word(said.reason, kind), words, said.adapter)
    if kind is Class.MEMORY:
        # The last lines of its log are about anything but memory: nobody could write a word.
        text = f"The process was killed for memory (exit code {ended.code}). Raise"
        return Verdict(kind, _FALLBACK[kind], f"{text} spec.resources.memory.")
    words = children.plain(ended.message)
    text = f"Exit code {ended.code}" + (f" ({ended.reason})" if ended.reason else "")
    text = f"{text}: {words}" if words else text
    return Verdict(kind, _FALLBACK[kind], children.sentence(text))


_CODES: Final = frozenset(int(code) for code in jobs.ExitCode)


def _word(reason: str, kind: Class) -> str:
    """Return the program's reason if it is one that a condition may carry."""
    usable = reason.isalnum() and reason[:1].isupper() and reason.isascii() and len(reason) <= 128
    return reason if usable else _FALLBACK[kind]
