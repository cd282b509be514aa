"""The consistency checker of scenario inputs: each rule refuses a state that cannot exist."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import pytest
import yaml

from tests.support import consistency

State: TypeAlias = dict[str, dict[str, Any]]
NOW: Final = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
STATE: Final = """
resource:
  kind: MensCorpus
  metadata: &meta
    {namespace: default, name: docs, uid: r, generation: 2,
     creationTimestamp: "2026-01-01T11:00:00Z"}
  status: {observedGeneration: 2}
job:
  kind: Job
  metadata:
    <<: *meta
    uid: j
    ownerReferences: [{kind: MensCorpus, name: docs, uid: r, controller: true}]
  status: {active: 1, ready: 1, startTime: "2026-01-01T11:30:00Z"}
pod:
  kind: Pod
  metadata:
    <<: *meta
    uid: p
    ownerReferences: [{kind: Job, name: docs, uid: j, controller: true}]
  spec: {nodeName: node-1}
  status:
    phase: Running
    containerStatuses: [{state: {running: {}}, lastState: {terminated: {exitCode: 1}}}]
deployment:
  kind: Deployment
  metadata: {<<: *meta, uid: d}
  status: {replicas: 1, readyReplicas: 1, updatedReplicas: 1, observedGeneration: 1}
"""


def condition(type_: str, status: str = "True", **fields: Any) -> dict[str, Any]:
    return {"type": type_, "status": status, **fields}


def job_status(*types: str, **fields: Any) -> dict[str, Any]:
    return {"conditions": [condition(type_) for type_ in types], **fields}


def pod_status(phase: str, **state: Any) -> dict[str, Any]:
    return {"phase": phase, "containerStatuses": [{"state": state}]}


END: Final = {"completionTime": "2026-01-01T11:40:00Z"}
IMPOSSIBLE: Final[dict[str, Callable[[State], object]]] = {
    "Pod default/docs has no metadata.uid": lambda s: s["pod"]["metadata"].pop("uid"),
    "Job default/docs has no metadata.creationTimestamp": lambda s: s["job"]["metadata"].pop(
        "creationTimestamp"
    ),
    "2 objects have the UID j": lambda s: s["pod"]["metadata"].update(uid="j"),
    "Job default/docs exists 2 times": lambda s: s.update(
        twin={**s["job"], "metadata": {**s["job"]["metadata"], "uid": "twin"}}
    ),
    "owner with UID gone, which does not exist": lambda s: s["job"]["metadata"]["ownerReferences"][
        0
    ].update(uid="gone"),
    "names its owner MensCorpus default/docs incorrectly": lambda s: s["job"]["metadata"][
        "ownerReferences"
    ][0].update(name="other"),
    "Pod other/docs is not in the namespace of its owner": lambda s: s["pod"]["metadata"].update(
        namespace="other"
    ),
    "has more than one controller": lambda s: s["pod"]["metadata"]["ownerReferences"].append(
        {"kind": "MensCorpus", "name": "docs", "uid": "r", "controller": True}
    ),
    "observedGeneration 3 above generation 2": lambda s: s["resource"]["status"].update(
        observedGeneration=3
    ),
    "condition Running for a later generation": lambda s: s["resource"]["status"].update(
        conditions=[condition("Running", observedGeneration=3)]
    ),
    "2 conditions of type Ready": lambda s: s["pod"]["status"].update(
        conditions=[condition("Ready"), condition("Ready", "False")]
    ),
    "no finalizers: it would be gone": lambda s: s["job"]["metadata"].update(
        deletionTimestamp="2026-01-01T11:50:00Z"
    ),
    "no deletionGracePeriodSeconds": lambda s: s["pod"]["metadata"].update(
        deletionTimestamp="2026-01-01T12:01:00Z"
    ),
    "creationTimestamp in the future": lambda s: s["pod"]["metadata"].update(
        creationTimestamp="2026-01-01T12:00:01Z"
    ),
    "lastTransitionTime of Ready in the future": lambda s: s["pod"]["status"].update(
        conditions=[condition("Ready", lastTransitionTime="2026-01-01T12:00:01Z")]
    ),
    "starts before it is created": lambda s: s["job"]["status"].update(
        startTime="2026-01-01T10:00:00Z"
    ),
    "is both Complete and Failed": lambda s: s["job"].update(
        status=job_status("Complete", "Failed", **END)
    ),
    "is Failed and has active pods": lambda s: s["job"].update(
        status=job_status("Failed", active=1)
    ),
    "is Complete and has active pods": lambda s: s["job"].update(
        status=job_status("Complete", active=1, **END)
    ),
    "must have Complete and completionTime, or neither": lambda s: s["job"].update(status=END),
    "more ready than active pods": lambda s: s["job"]["status"].update(ready=2),
    "is Running, but its Job is Failed": lambda s: s["job"].update(status=job_status("Failed")),
    "is Running and has no spec.nodeName": lambda s: s["pod"]["spec"].clear(),
    "is not scheduled and has a spec.nodeName": lambda s: s["pod"]["status"].update(
        conditions=[condition("PodScheduled", "False")]
    ),
    "container with running and terminated": lambda s: s["pod"].update(
        status=pod_status("Running", running={}, terminated={"exitCode": 0})
    ),
    "terminated container without exitCode": lambda s: s["pod"].update(
        status=pod_status("Failed", terminated={})
    ),
    "is Failed and has a running container": lambda s: s["pod"].update(
        status=pod_status("Failed", running={})
    ),
    "is Succeeded with exit code 1": lambda s: s["pod"].update(
        status=pod_status("Succeeded", terminated={"exitCode": 1})
    ),
    "more readyReplicas than replicas": lambda s: s["deployment"]["status"].update(readyReplicas=2),
    "more availableReplicas than readyReplicas": lambda s: s["deployment"]["status"].update(
        availableReplicas=2
    ),
}
"""Message of a violation -> a change of STATE that causes it."""


PARSED: Final[State] = yaml.safe_load(STATE)


def read() -> State:
    return copy.deepcopy(PARSED)


def test_possible_state_is_accepted() -> None:
    """The state that all other tests here change is consistent."""
    consistency.check(list(read().values()), now=NOW)


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_impossible_state_is_refused(message: str) -> None:
    """The message names the object and what is impossible about it."""
    state = read()
    IMPOSSIBLE[message](state)
    with pytest.raises(consistency.InconsistentStateError) as caught:
        consistency.check(list(state.values()), now=NOW)
    assert message in str(caught.value)


def test_every_rule_is_tested() -> None:
    """Each rule yields a message for at least one of the changes above."""
    for rule in consistency.RULES:
        found = []
        for change in IMPOSSIBLE.values():
            state = read()
            change(state)
            found += list(rule(list(state.values()), NOW))
        assert found, rule.__name__
