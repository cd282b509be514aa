"""Child objects as frozen values: the only module that reads their JSON."""

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

_IMAGE_PULL_REASONS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_NOT_STARTED_REASONS: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PostStartHookError",
    }
)
_DISRUPTION_REASONS: Final = ("Preempting", "NodeShutdown", "Terminated")
"""Pod status reasons with which older kubelets report a disruption."""
_JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"


@dataclass(frozen=True)
class Job:
    """A Job that the operator created."""

    name: str
    uid: str
    key: str
    """Key of its output: hash of spec and inputs."""
    spec_hash: str
    pod_settings_hash: str
    """Empty for a Job that an earlier version created."""
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
    """Its activeDeadlineSeconds."""
    deleting: bool
    message: str
    """Message of its newest True condition, such as Kueue's or the Job controller's."""

    @property
    def finished(self) -> bool:
        """Whether it is Complete or Failed."""
        return self.complete or self.failed is not None


@dataclass(frozen=True)
class Terminated:
    """Terminated state of a container."""

    exit_code: int
    reason: str
    message: str

    @property
    def termination(self) -> jobs.Termination | None:
        """The termination message that the program wrote; None if it could not."""
        try:
            return jobs.Termination.model_validate_json(self.message)
        except pydantic.ValidationError:
            return None


@dataclass(frozen=True)
class Pod:
    """A pod of a Job or Deployment that the operator created."""

    name: str
    created: datetime
    job: str
    controller: str | None
    """UID of its controller; differs for a deleted Job with the same name."""
    node: str
    """Name of its node; empty until it is scheduled."""
    phase: str
    ready: bool
    deleting: bool
    deletion_due: datetime | None
    """End of the deletion grace period of a pod that is being deleted."""
    disruption: str | None
    """Message of an eviction or preemption."""
    volume_eviction: str | None
    """Message of an eviction because a volume of the pod exceeded its size limit."""
    waiting: tuple[str, str] | None
    """Reason (of `mens.api.reasons`) and message of the scheduler or kubelet."""
    terminated: Terminated | None
    """State of the container when it ended; the last end for a container that restarts."""
    template_hash: str = ""
    """The Deployment's pod-template-hash."""

    @property
    def finished(self) -> bool:
        """Whether all its containers have ended for good."""
        return self.phase in ("Succeeded", "Failed")

    def may_write(self, key: str) -> bool:
        """Return whether it may still write to the output with this key; its Job may be gone."""
        parsed = names.parse_job(self.job)
        return not self.finished and parsed is not None and parsed[0] == key

    def is_stuck(self, now: datetime, grace: float) -> bool:
        """Return whether its deletion is over `grace` seconds overdue: its node is not there."""
        due = self.deletion_due
        late = due is not None and (now - due).total_seconds() > grace
        return late and not self.finished


@dataclass(frozen=True)
class AppliedObject:
    """An object that the operator applied and that other clients may have changed since."""

    object: Mapping[str, Any]
    hash: str
    """Hash of the manifest that it was built from."""
    owned_fields: Mapping[str, Any] | None
    """Fields that the operator owns, as `fieldsV1` of `managedFields`; None if unknown."""
    applied_at: datetime | None
    """When the operator last changed a field."""


@dataclass(frozen=True)
class Deployment:
    """A Deployment that the operator created."""

    applied: AppliedObject
    serve_job: jobs.ServeJob | None
    """MENS_JOB of its pod template; None if it cannot be read."""
    desired_replicas: int
    """Its spec.replicas; the other numbers are from its status."""
    replicas: int
    updated_replicas: int
    ready_replicas: int
    observed: bool
    """Whether its controller has observed the newest generation."""


@dataclass(frozen=True)
class Children:
    """All children of one resource."""

    jobs: tuple[Job, ...]
    pods: tuple[Pod, ...]
    deployment: Deployment | None
    service: AppliedObject | None

    def pods_of(self, job: Job) -> tuple[Pod, ...]:
        """Return the pods of a Job, without those of a deleted Job with the same name."""
        return tuple(
            pod for pod in self.pods if pod.job == job.name and pod.controller in (None, job.uid)
        )


def parse(objects: tuple[Mapping[str, Any], ...], owner: kube.ObjectMeta) -> Children:
    """Parse children; Jobs, Deployments and Services only if the resource is their controller.

    A pod is found by its label, which every client can set, so only pods in the namespace of the
    resource count.
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


def parse_time(text: Any) -> datetime | None:
    """Parse a timestamp of the API server; None if it is not one."""
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
    true = [item for item in status.get("conditions") or () if item.get("status") == "True"]
    by_type = {item.get("type"): item for item in true}
    failed = by_type.get("Failed")
    end = failed or by_type.get("Complete") or {}
    return Job(
        name=obj["metadata"]["name"],
        uid=obj["metadata"].get("uid", ""),
        key=parsed[0],
        spec_hash=labels.get(names.SPEC_HASH_LABEL, ""),
        pod_settings_hash=labels.get(names.POD_SETTINGS_HASH_LABEL, ""),
        attempt=parsed[1],
        created=parse_time(obj["metadata"].get("creationTimestamp"))
        or datetime.fromtimestamp(0, UTC),
        suspended=bool((obj.get("spec") or {}).get("suspend")),
        active=_number(status.get("active")),
        ready=_number(status.get("ready")),
        complete="Complete" in by_type,
        failed=str(failed.get("reason") or "Failed") if failed else None,
        finished_at=parse_time(status.get("completionTime"))
        or parse_time(end.get("lastTransitionTime")),
        deadline=(obj.get("spec") or {}).get("activeDeadlineSeconds"),
        deleting="deletionTimestamp" in obj["metadata"],
        message=str(true[-1].get("message") or "") if true else "",
    )


def _pod(obj: Mapping[str, Any]) -> Pod:
    meta, status = obj["metadata"], obj.get("status") or {}
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    containers = status.get("containerStatuses") or ()
    container = containers[0] if containers else {}
    disruption = conditions.get("DisruptionTarget") or {}
    message = str(status.get("message") or disruption.get("message") or "evicted")
    # A volume over its size limit is not a disruption: the kubelet sets no condition for it, and
    # its message is not about the node.
    disrupted = disruption.get("status") == "True" or status.get("reason") in _DISRUPTION_REASONS
    evicted = status.get("reason") == "Evicted" and not disrupted
    volume_eviction = evicted and not message.startswith("The node")
    disrupted = disrupted or (evicted and not volume_eviction)
    return Pod(
        name=meta["name"],
        created=parse_time(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        job=str((meta.get("labels") or {}).get(_JOB_NAME_LABEL, "")),
        controller=_controller(obj),
        node=str((obj.get("spec") or {}).get("nodeName") or ""),
        phase=str(status.get("phase") or "Pending"),
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        deleting="deletionTimestamp" in meta,
        deletion_due=parse_time(meta.get("deletionTimestamp")),
        disruption=message if disrupted else None,
        volume_eviction=message if volume_eviction else None,
        waiting=_waiting(conditions, container),
        terminated=_terminated(container),
        template_hash=str((meta.get("labels") or {}).get("pod-template-hash", "")),
    )


def _waiting(
    conditions: Mapping[Any, Mapping[str, Any]], container: Mapping[str, Any]
) -> tuple[str, str] | None:
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return reasons.UNSCHEDULABLE, str(scheduled.get("message") or "")
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in _IMAGE_PULL_REASONS:
        return reasons.IMAGE_PULL_FAILED, f"{reason}: {message}".rstrip(": ")
    if reason in _NOT_STARTED_REASONS:
        return reasons.POD_NOT_STARTED, f"{reason}: {message}".rstrip(": ")
    return None


def _terminated(container: Mapping[str, Any]) -> Terminated | None:
    for name in ("state", "lastState"):
        terminated = (container.get(name) or {}).get("terminated")
        if terminated:
            return Terminated(
                exit_code=_number(terminated.get("exitCode")),
                reason=str(terminated.get("reason") or ""),
                message=str(terminated.get("message") or ""),
            )
    return None


def _deployment(obj: Mapping[str, Any]) -> Deployment:
    status = obj.get("status") or {}
    observed = _number(status.get("observedGeneration"))
    return Deployment(
        applied=_applied(obj),
        serve_job=_serve_job(obj),
        desired_replicas=_number((obj.get("spec") or {}).get("replicas")),
        replicas=_number(status.get("replicas")),
        updated_replicas=_number(status.get("updatedReplicas")),
        ready_replicas=_number(status.get("readyReplicas")),
        observed=observed >= _number(obj["metadata"].get("generation")),
    )


def _serve_job(obj: Mapping[str, Any]) -> jobs.ServeJob | None:
    template = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in template.get("containers") or ():
        for variable in container.get("env") or ():
            if container.get("name") == pods.CONTAINER and variable.get("name") == jobs.JOB_ENV:
                try:
                    return jobs.ServeJob.model_validate_json(str(variable.get("value")))
                except pydantic.ValidationError:
                    return None
    return None


def _applied(obj: Mapping[str, Any]) -> AppliedObject:
    meta = obj["metadata"]
    entries = meta.get("managedFields") or ()
    ours = [entry for entry in entries if entry.get("manager") == names.MANAGER]
    return AppliedObject(
        object=obj,
        hash=str((meta.get("annotations") or {}).get(names.HASH_ANNOTATION, "")),
        owned_fields=ours[0].get("fieldsV1") if ours else None,
        applied_at=parse_time(ours[0].get("time")) if ours else None,
    )


def _controller(obj: Mapping[str, Any]) -> str | None:
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference.get("uid"))
    return None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def single_line(text: str, limit: int = 1000) -> str:
    """Return a foreign text on one line, cut after `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def sentence(text: str, limit: int = 1000) -> str:
    """Return a foreign text as one sentence that another sentence can follow."""
    line = single_line(text, limit)
    if not line:
        return ""
    if line.split()[0].isalpha():  # a word, and not a URI or a field's path
        line = line[0].upper() + line[1:]
    return line if line.endswith((".", "!", "?", "…", ":")) else f"{line}."


def log_excerpt(message: str) -> str:
    """Return the log lines that the kubelet used as termination message; empty if it is JSON."""
    try:
        json.loads(message)
    except ValueError:
        return single_line(message[-600:])
    return ""
