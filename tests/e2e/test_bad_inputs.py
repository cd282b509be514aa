"""Bad input is named in a condition; a resource recovers by itself once the cause is gone."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hack.demo import kubectl, platform
from mens.artifacts import refs
from tests.e2e import conftest, faults, resources

pytestmark = pytest.mark.e2e

Kind = type[faults.Fault]
Stages = dict[Kind, faults.Stage]
Seen = dict[Kind, dict[str, Any]]
SECONDS = 240
"""The operator retries wrong input after 30 s, then at growing intervals."""


@pytest.fixture(scope="module")
def stages(
    kube: kubectl.Kubectl, storage: platform.Storage, base: str, beside_the_demo: None
) -> Iterator[Stages]:
    """A namespace for each fault, and the fault in it: all wait at once, to save time."""
    stamp = int(time.time()) % 10**5
    made = {}
    for fault in faults.ALL:
        space = f"t-{fault.__name__.lower()}-{stamp}"
        platform.add_namespace(kube, space)
        made[fault] = faults.Stage(kube, storage, base, space)
        fault().inject(made[fault])
    yield made
    for stage in made.values():
        kube("delete", "namespace", stage.space, "--wait=false")


@pytest.fixture(scope="module")
def seen(stages: Stages) -> Seen:
    """Each resource once it reports the fault, or as it is after the deadline."""
    return {
        fault: _awaited(stage, fault, fault.reported[0], fault.reported[1])
        for fault, stage in stages.items()
    }


@dataclasses.dataclass(frozen=True)
class Traces:
    """What a fault left in its namespace while it existed."""

    jobs: str
    """Names of the Jobs."""
    events: str
    """All events, as YAML."""
    logs: str
    """What the Jobs' pods have printed."""


@pytest.fixture(scope="module")
def traces(kube: kubectl.Kubectl, stages: Stages, seen: Seen) -> dict[Kind, Traces]:
    """Read before any repair: later attempts delete the Job of the first one."""
    found = {}
    for fault, stage in stages.items():
        jobs = kube("-n", stage.space, "get", "jobs", "-o", "name")
        events = kube("-n", stage.space, "get", "events", "-o", "yaml")
        logs = [kube("-n", stage.space, "logs", job, check=False) for job in jobs.split()]
        found[fault] = Traces(jobs, events, "".join(logs))
    return found


@pytest.fixture(scope="module")
def recovered(
    stages: Stages,
    seen: Seen,
    traces: dict[Kind, Traces],
) -> Seen:
    """Each resource after its cause was taken away, and nothing else."""
    for fault, stage in stages.items():
        fault().repair(stage)
    return {
        fault: _awaited(stage, fault, fault.recovered[0], fault.recovered[1])
        for fault, stage in stages.items()
    }


def _awaited(stage: faults.Stage, fault: Kind, condition: str, reason: str) -> dict[str, Any]:
    return conftest.awaited(
        stage.kube, (stage.space, fault.kind, fault.name), condition, reason, SECONDS
    )


def _names(fault: Kind) -> str:
    return fault.__name__


@pytest.mark.parametrize("fault", faults.ALL, ids=_names)
def test_fault_is_reported(
    fault: Kind,
    stages: Stages,
    seen: Seen,
) -> None:
    """A condition has the reason; its message names the value and the fix; nothing is published."""
    condition, reason = fault.reported
    found = kubectl.condition_of(seen[fault], condition)
    assert found.get("reason") == reason, seen[fault].get("status")
    assert found["status"] != "True"
    for word in fault.words:
        assert word in found["message"]
    status = seen[fault]["status"]
    assert "artifact" not in status
    assert status.get("readyReplicas", 0) == 0
    uid = seen[fault]["metadata"]["uid"]
    for kind in ("corpora", "runs"):
        held = stages[fault].target.list(refs.Uri.parse(f"s3://mens/{kind}/{uid}"))
        assert not [info for info in held if info.uri.name == "manifest.json"]


@pytest.mark.parametrize("fault", faults.ALL, ids=_names)
def test_resource_recovers(fault: Kind, recovered: Seen) -> None:
    """Once the cause is gone, the resource continues without any edit."""
    condition, reason = fault.recovered
    found = kubectl.condition_of(recovered[fault], condition)
    assert found.get("reason") == reason, recovered[fault].get("status")


def test_invalid_inputs_start_no_job(traces: dict[Kind, Traces], seen: Seen) -> None:
    """Neither an unknown license nor a pickle file starts a pod of the run."""
    for fault in (faults.UnknownLicense, faults.Pickle):
        assert "/run-" not in traces[fault].jobs
        assert "jobName" not in seen[fault]["status"]
    assert "/corpus-" in traces[faults.MissingSource].jobs


def test_refused_secret_is_not_exposed(traces: dict[Kind, Traces], seen: Seen) -> None:
    """Status, events and logs do not contain a wrong secret."""
    left, secret = traces[faults.WrongCredentials], faults.WrongCredentials.secret
    assert "StorageDenied" in left.events
    assert "StorageDenied" in left.logs
    for text in (json.dumps(seen[faults.WrongCredentials]), left.events, left.logs):
        assert secret not in text


@pytest.mark.usefixtures("alone")
def test_store_outage_recovers(kube: kubectl.Kubectl, space: str, wait_for: Any) -> None:
    """A store that does not answer is reported on the resource, which recovers when it is back."""
    service = ("-n", platform.SYSTEM, "patch", platform.STORE, "--type=merge", "-p")
    selector = kube("-n", platform.SYSTEM, "get", platform.STORE, "-o", "jsonpath={.spec.selector}")
    nobody = dict.fromkeys(json.loads(selector), "nobody")
    kube(*service, json.dumps({"spec": {"selector": nobody}}))
    try:
        kube.apply(resources.corpus(space, "s3://mens/outage/"))
        wait_for("menscorpus", "corpus", "StorageReady", "StorageUnreachable")
    finally:
        kube(*service, json.dumps({"spec": {"selector": json.loads(selector)}}))
    wait_for("menscorpus", "corpus", "StorageReady", "StorageReady")


def test_rule_refuses_spec(kube: kubectl.Kubectl, space: str) -> None:
    """The API server refuses a spec that breaks a rule and says which."""
    manifest = resources.corpus(space, "s3://mens/x/")
    manifest["spec"]["sources"][0]["git"] = {"url": "https://git.example/x.git", "revision": "main"}
    with pytest.raises(kubectl.DemoError, match="exactly one of: s3, git"):
        kube.apply(manifest)
