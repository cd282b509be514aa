"""Refuses cluster states that no real cluster can be in, so that no test proves behavior on them.

Each rule takes all objects of a state and yields one message for each violation. The rules hold for
what the API server, the Job and Deployment controllers and the kubelet write (Kubernetes 1.31 and
later, where a Job is Complete or Failed only once all its pods have ended).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

Object: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = Callable[[Sequence[Object], datetime], Iterator[str]]


class InconsistentStateError(Exception):
    """The state is impossible; the message lists each violation."""


def check(objects: Sequence[Object], *, now: datetime) -> None:
    """Raise InconsistentStateError if no cluster can hold these objects at this time."""
    found = [message for rule in RULES for message in rule(objects, now)]
    if found:
        raise InconsistentStateError("\n".join(found))


def _name(obj: Object) -> str:
    meta = obj.get("metadata") or {}
    return f"{obj.get('kind')} {meta.get('namespace')}/{meta.get('name')}"


def _status(obj: Object) -> Mapping[str, Any]:
    return obj.get("status") or {}


def _of_kind(objects: Sequence[Object], kind: str) -> Iterator[Object]:
    return (obj for obj in objects if obj["kind"] == kind)


def _true_conditions(obj: Object) -> set[str]:
    conditions = _status(obj).get("conditions") or ()
    return {item["type"] for item in conditions if item["status"] == "True"}


# -- all kinds ---------------------------------------------------------------------------------


def metadata_is_complete(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """The API server sets name, namespace, uid and creationTimestamp of each object."""
    for obj in objects:
        for field in ("name", "namespace", "uid", "creationTimestamp"):
            if not obj["metadata"].get(field):
                yield f"{_name(obj)} has no metadata.{field}"


def names_are_unique(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """A name belongs to one object of a kind and namespace; a UID to one object."""
    for name, count in Counter(_name(obj) for obj in objects).items():
        if count > 1:
            yield f"{name} exists {count} times"
    for uid, count in Counter(obj["metadata"].get("uid") for obj in objects).items():
        if count > 1:
            yield f"{count} objects have the UID {uid}"


def owners_exist(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """Owners exist in the namespace of the child; one of them at most is its controller."""
    by_uid = {obj["metadata"].get("uid"): obj for obj in objects}
    for obj in objects:
        references = obj["metadata"].get("ownerReferences") or ()
        for reference in references:
            owner = by_uid.get(reference["uid"])
            if owner is None:
                yield f"{_name(obj)} has an owner with UID {reference['uid']}, which does not exist"
            elif owner["metadata"]["namespace"] != obj["metadata"]["namespace"]:
                yield f"{_name(obj)} is not in the namespace of its owner {_name(owner)}"
            elif (owner["kind"], owner["metadata"]["name"]) != (
                reference["kind"],
                reference["name"],
            ):
                yield f"{_name(obj)} names its owner {_name(owner)} incorrectly"
        if sum(bool(reference.get("controller")) for reference in references) > 1:
            yield f"{_name(obj)} has more than one controller"


def generations_are_observed_later(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """A status refers to the generation of the object or to an earlier one."""
    for obj in objects:
        generation = obj["metadata"].get("generation", 0)
        observed = _status(obj).get("observedGeneration", 0)
        if observed > generation:
            yield f"{_name(obj)} has observedGeneration {observed} above generation {generation}"
        for item in _status(obj).get("conditions") or ():
            if item.get("observedGeneration", 0) > generation:
                yield f"{_name(obj)} has condition {item['type']} for a later generation"


def condition_types_are_unique(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """The conditions of an object are a map by type."""
    for obj in objects:
        types = Counter(item["type"] for item in _status(obj).get("conditions") or ())
        for type_, count in types.items():
            if count > 1:
                yield f"{_name(obj)} has {count} conditions of type {type_}"


def deletion_is_possible(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """An object with a deletionTimestamp has a finalizer, or is a pod in its grace period."""
    for obj in objects:
        meta = obj["metadata"]
        if "deletionTimestamp" not in meta:
            continue
        if obj["kind"] != "Pod" and not meta.get("finalizers"):
            yield f"{_name(obj)} has a deletionTimestamp and no finalizers: it would be gone"
        if obj["kind"] == "Pod" and "deletionGracePeriodSeconds" not in meta:
            yield f"{_name(obj)} has a deletionTimestamp and no deletionGracePeriodSeconds"


def times_are_in_order(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """Times in the past are not in the future, and nothing ends before it starts."""
    for obj in objects:
        status = _status(obj)
        past = {"creationTimestamp": obj["metadata"].get("creationTimestamp")}
        past |= {name: status.get(name) for name in ("startTime", "completionTime")}
        for item in status.get("conditions") or ():
            past[f"lastTransitionTime of {item['type']}"] = item.get("lastTransitionTime")
        times = {name: datetime.fromisoformat(text) for name, text in past.items() if text}
        for name, time in times.items():
            if time > now:
                yield f"{_name(obj)} has a {name} in the future"
        order = [
            times[name]
            for name in ("creationTimestamp", "startTime", "completionTime")
            if name in times
        ]
        if order != sorted(order):
            yield f"{_name(obj)} ends before it starts, or starts before it is created"


# -- Jobs --------------------------------------------------------------------------------------


def jobs_end_once(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """A Job is Complete or Failed, and then has no active pods; only Complete sets the time."""
    for job in _of_kind(objects, "Job"):
        ends, status = _true_conditions(job) & {"Complete", "Failed"}, _status(job)
        if len(ends) > 1:
            yield f"{_name(job)} is both Complete and Failed"
        if ends and status.get("active"):
            yield f"{_name(job)} is {min(ends)} and has active pods"
        if ("Complete" in ends) != ("completionTime" in status):
            yield f"{_name(job)} must have Complete and completionTime, or neither"
        if status.get("ready", 0) > status.get("active", 0):
            yield f"{_name(job)} has more ready than active pods"


def pods_of_finished_jobs_have_ended(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """A Job finishes after its pods."""
    jobs = {job["metadata"]["uid"]: job for job in _of_kind(objects, "Job")}
    for pod in _of_kind(objects, "Pod"):
        for reference in pod["metadata"].get("ownerReferences") or ():
            job = jobs.get(reference["uid"])
            phase = _status(pod).get("phase")
            ends = _true_conditions(job) & {"Complete", "Failed"} if job else set()
            if ends and phase in ("Pending", "Running"):
                yield f"{_name(pod)} is {phase}, but its Job is {min(ends)}"


# -- pods --------------------------------------------------------------------------------------


def started_pods_have_a_node(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """Only a pod without a node is unscheduled; a pod that runs or ran has one."""
    for pod in _of_kind(objects, "Pod"):
        phase, node = _status(pod).get("phase"), (pod.get("spec") or {}).get("nodeName")
        if phase in ("Running", "Succeeded") and not node:
            yield f"{_name(pod)} is {phase} and has no spec.nodeName"
        conditions = _status(pod).get("conditions") or ()
        unscheduled = any(
            item["type"] == "PodScheduled" and item["status"] == "False" for item in conditions
        )
        if unscheduled and node:
            yield f"{_name(pod)} is not scheduled and has a spec.nodeName"


def container_states_fit(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """A container has one state; a terminated one an exit code; an ended pod no other state."""
    for pod in _of_kind(objects, "Pod"):
        phase = _status(pod).get("phase")
        for container in _status(pod).get("containerStatuses") or ():
            for field in ("state", "lastState"):
                state = container.get(field) or {}
                if len(state) > 1:
                    yield f"{_name(pod)} has a container with {' and '.join(sorted(state))}"
                if "terminated" in state and "exitCode" not in state["terminated"]:
                    yield f"{_name(pod)} has a terminated container without exitCode"
            state = container.get("state") or {}
            code = (state.get("terminated") or {}).get("exitCode", 0)
            if phase in ("Succeeded", "Failed") and "running" in state:
                yield f"{_name(pod)} is {phase} and has a running container"
            if phase == "Succeeded" and code != 0:
                yield f"{_name(pod)} is Succeeded with exit code {code}"


# -- Deployments -------------------------------------------------------------------------------


def replica_counts_fit(objects: Sequence[Object], now: datetime) -> Iterator[str]:
    """Ready and updated replicas are among all replicas, available ones among the ready ones."""
    for deployment in _of_kind(objects, "Deployment"):
        status = _status(deployment)
        for part, whole in (
            ("readyReplicas", "replicas"),
            ("updatedReplicas", "replicas"),
            ("availableReplicas", "readyReplicas"),
        ):
            if status.get(part, 0) > status.get(whole, 0):
                yield f"{_name(deployment)} has more {part} than {whole}"


RULES: Final[tuple[Rule, ...]] = (
    metadata_is_complete,
    names_are_unique,
    owners_exist,
    generations_are_observed_later,
    condition_types_are_unique,
    deletion_is_possible,
    times_are_in_order,
    jobs_end_once,
    pods_of_finished_jobs_have_ended,
    started_pods_have_a_node,
    container_states_fit,
    replica_counts_fit,
)
