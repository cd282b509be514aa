"""Children as frozen values: the one place that knows their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pydantic

from mens.api import kube, reasons
from mens.runtime import jobs
from mens_operator.manifests import names, pods

_IMAGE_TROUBLE: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_NOT_STARTED: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PostStartHookError",
    }
)
_DISRUPTIONS: Final = ("Preempting", "NodeShutdown", "Terminated")
"""Reasons of older kubelets for a pod's end that is nobody's fault."""
_JOB_NAME: Final = "batch.kubernetes.io/job-name"


@dataclass(frozen=True)
class Job:
    """A Job of ours."""

    name: str
    uid: str
    key: str
    spec: str
    shape: str
    """Hash of how it was to run; empty for one that an earlier version made."""
    attempt: int
    created: datetime
    suspended: bool
    active: int
    ready: int
    complete: bool
    failed: str | None
    """Reason of the Failed condition."""
    finished_at: datetime | None
    deadline: int | None
    """Longest time it was given, in seconds."""
    deleting: bool
    said: str
    """Message of the newest condition, such as Kueue's or the Job controller's."""

    @property
    def finished(self) -> bool:
        """Whether it has reached its end, good or bad."""
        return self.complete or self.failed is not None


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    code: int
    reason: str
    message: str

    @property
    def termination(self) -> jobs.Termination | None:
        """What the program itself said, if it could."""
        try:
            return jobs.Termination.model_validate_json(self.message)
        except pydantic.ValidationError:
            return None


@dataclass(frozen=True)
class Pod:
    """A pod of ours."""

    name: str
    created: datetime
    job: str
    controller: str | None
    """UID of the Job, of this very one and not of a namesake."""
    node: str
    """Name of its node; empty until it has one."""
    phase: str
    ready: bool
    deleting: bool
    due: datetime | None
    """When a deletion that was asked for should be over: the end of its grace."""
    disrupted: str | None
    """Message of the eviction or preemption."""
    overflowed: str | None
    """Message of the eviction for writing more to its own volume than that may hold."""
    waiting: tuple[str, str] | None
    """One of our reasons and the words of scheduler or kubelet."""
    ended: Ended | None
    """How the container ended, the last time for one that is started again."""
    template: str = ""
    """Hash of the template of a Deployment that it was made from."""

    @property
    def finished(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.phase in ("Succeeded", "Failed")

    def works_on(self, key: str) -> bool:
        """Whether it may still write to a key's output, though its Job may be gone already."""
        parsed = names.parse_job(self.job)
        return not self.finished and parsed is not None and parsed[0] == key

    def is_stuck(self, now: datetime, grace: float) -> bool:
        """Whether it should have ended some seconds ago: its node does not answer."""
        late = self.due is not None and (now - self.due).total_seconds() > grace
        return late and not self.finished


@dataclass(frozen=True)
class Applied:
    """An object of ours that anybody may have changed since."""

    object: Mapping[str, Any]
    hash: str
    """What it was built from."""
    owned: Mapping[str, Any] | None
    """Fields that are still ours, as `managedFields` writes them; None if that is not known."""
    since: datetime | None
    """When we last changed something in it."""


@dataclass(frozen=True)
class Deployment:
    """A Deployment of ours."""

    applied: Applied
    work: jobs.ServeJob | None
    """What its pods are told to serve; None if that cannot be read."""
    wanted: int
    replicas: int
    updated: int
    ready: int
    settled: bool
    """Whether its controller has seen the newest spec."""


@dataclass(frozen=True)
class Children:
    """All of a resource's."""

    jobs: tuple[Job, ...]
    pods: tuple[Pod, ...]
    deployment: Deployment | None
    service: Applied | None

    def pods_of(self, job: Job) -> tuple[Pod, ...]:
        """Return the pods of a Job, and none that a deleted namesake left behind."""
        return tuple(
            pod for pod in self.pods if pod.job == job.name and pod.controller in (None, job.uid)
        )


def children(objects: tuple[Mapping[str, Any], ...], owner: kube.ObjectMeta) -> Children:
    """Read children; Jobs, Deployments and Services only if the resource controls them.

    A pod is found by its label, which anybody may write: never in a namespace that is not the
    resource's own.
    """
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for obj in objects:
        if obj["metadata"].get("namespace") == owner.namespace:
            by_kind.setdefault(str(obj.get("kind")), []).append(obj)

    def owned(kind: str) -> list[Mapping[str, Any]]:
        return [obj for obj in by_kind.get(kind, ()) if _controller(obj) == owner.uid]

    deployments = [_deployment(obj) for obj in owned("Deployment")]
    services = [_applied(obj) for obj in owned("Service")]
    found = tuple(job for obj in owned("Job") if (job := _job(obj)) is not None)
    return Children(
        jobs=tuple(sorted(found, key=lambda job: (job.created, job.attempt, job.name))),
        pods=tuple(sorted(map(_pod, by_kind.get("Pod", ())), key=lambda it: (it.created, it.name))),
        deployment=deployments[0] if deployments else None,
        service=services[0] if services else None,
    )


def moment(text: Any) -> datetime | None:
    """Read a time of the API server."""
    if not isinstance(text, str):
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _job(obj: Mapping[str, Any]) -> Job | None:
    labels = obj["metadata"].get("labels") or {}
    status = obj.get("status") or {}
    parsed = names.parse_job(obj["metadata"]["name"])
    if parsed is None:
        return None
    said = [item for item in status.get("conditions") or () if item.get("status") == "True"]
    ends = {item.get("type"): item for item in said}
    failed = ends.get("Failed")
    end = failed or ends.get("Complete") or {}
    return Job(
        name=obj["metadata"]["name"],
        uid=obj["metadata"].get("uid", ""),
        key=parsed[0],
        spec=labels.get(names.SPEC_LABEL, ""),
        shape=labels.get(names.SHAPE_LABEL, ""),
        attempt=parsed[1],
        created=moment(obj["metadata"].get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        suspended=bool((obj.get("spec") or {}).get("suspend")),
        active=_number(status.get("active")),
        ready=_number(status.get("ready")),
        complete="Complete" in ends,
        failed=str(failed.get("reason") or "Failed") if failed else None,
        finished_at=moment(status.get("completionTime")) or moment(end.get("lastTransitionTime")),
        deadline=(obj.get("spec") or {}).get("activeDeadlineSeconds"),
        deleting="deletionTimestamp" in obj["metadata"],
        said=str(said[-1].get("message") or "") if said else "",
    )


def _pod(obj: Mapping[str, Any]) -> Pod:
    meta, status = obj["metadata"], obj.get("status") or {}
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    containers = status.get("containerStatuses") or ()
    container = containers[0] if containers else {}
    disruption = conditions.get("DisruptionTarget") or {}
    said = str(status.get("message") or disruption.get("message") or "evicted")
    # A volume over its limit is no disruption: the kubelet sets no condition for it, and its words
    # are not about the node.
    disrupted = disruption.get("status") == "True" or status.get("reason") in _DISRUPTIONS
    evicted = status.get("reason") == "Evicted" and not disrupted
    overflowed = evicted and not said.startswith("The node")
    disrupted = disrupted or (evicted and not overflowed)
    return Pod(
        name=meta["name"],
        created=moment(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        job=str((meta.get("labels") or {}).get(_JOB_NAME, "")),
        controller=_controller(obj),
        node=str((obj.get("spec") or {}).get("nodeName") or ""),
        phase=str(status.get("phase") or "Pending"),
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        deleting="deletionTimestamp" in meta,
        due=moment(meta.get("deletionTimestamp")),
        disrupted=said if disrupted else None,
        overflowed=said if overflowed else None,
        waiting=_waiting(conditions, container),
        ended=_ended(container),
        template=str((meta.get("labels") or {}).get("pod-template-hash", "")),
    )


def _waiting(
    conditions: Mapping[Any, Mapping[str, Any]], container: Mapping[str, Any]
) -> tuple[str, str] | None:
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return reasons.UNSCHEDULABLE, str(scheduled.get("message") or "")
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in _IMAGE_TROUBLE:
        return reasons.IMAGE_PULL_FAILED, f"{reason}: {message}".rstrip(": ")
    if reason in _NOT_STARTED:
        return reasons.POD_NOT_STARTED, f"{reason}: {message}".rstrip(": ")
    return None


def _ended(container: Mapping[str, Any]) -> Ended | None:
    for name in ("state", "lastState"):
        ended = (container.get(name) or {}).get("terminated")
        if ended:
            return Ended(
                code=_number(ended.get("exitCode")),
                reason=str(ended.get("reason") or ""),
                message=str(ended.get("message") or ""),
            )
    return None


def _deployment(obj: Mapping[str, Any]) -> Deployment:
    status = obj.get("status") or {}
    seen = _number(status.get("observedGeneration"))
    return Deployment(
        applied=_applied(obj),
        work=_served(obj),
        wanted=_number((obj.get("spec") or {}).get("replicas")),
        replicas=_number(status.get("replicas")),
        updated=_number(status.get("updatedReplicas")),
        ready=_number(status.get("readyReplicas")),
        settled=seen >= _number(obj["metadata"].get("generation")),
    )


def _served(obj: Mapping[str, Any]) -> jobs.ServeJob | None:
    template = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in template.get("containers") or ():
        for variable in container.get("env") or ():
            if container.get("name") == pods.CONTAINER and variable.get("name") == jobs.JOB_ENV:
                try:
                    return jobs.ServeJob.model_validate_json(str(variable.get("value")))
                except pydantic.ValidationError:
                    return None
    return None


def _applied(obj: Mapping[str, Any]) -> Applied:
    meta = obj["metadata"]
    entries = meta.get("managedFields") or ()
    ours = [entry for entry in entries if entry.get("manager") == names.MANAGER]
    return Applied(
        object=obj,
        hash=str((meta.get("annotations") or {}).get(names.HASH_ANNOTATION, "")),
        owned=ours[0].get("fieldsV1") if ours else None,
        since=moment(ours[0].get("time")) if ours else None,
    )


def _controller(obj: Mapping[str, Any]) -> str | None:
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference.get("uid"))
    return None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def shortened(text: str, limit: int = 1000) -> str:
    """Return one line of a text that others wrote."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def sentence(text: str, limit: int = 1000) -> str:
    """Return what others wrote as one sentence, so that ours can follow it."""
    line = shortened(text, limit)
    if not line:
        return ""
    if line.split()[0].isalpha():  # a word, and not a URI or a field's path
        line = line[0].upper() + line[1:]
    return line if line.endswith((".", "!", "?", "…", ":")) else f"{line}."


def plain(message: str) -> str:
    """Return the words of a termination message that is not JSON of ours: its last log lines."""
    try:
        json.loads(message)
    except ValueError:
        return shortened(message[-600:])
    return ""
