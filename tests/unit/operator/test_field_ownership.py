"""Deployments and Services that other clients change: restored, reported, at intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mens_operator.cluster import kinds
from mens_operator.plans import field_ownership
from tests.support import simulation
from tests.support.simulation import SERVE_KEY, Simulation

DEPLOYMENT = kinds.Key(kinds.DEPLOYMENT, "default", "chat")
SERVICE = kinds.Key(kinds.SERVICE, "default", "chat")


def there(sim: Simulation, key: kinds.Key) -> dict[str, Any]:
    (found,) = sim.cluster.objects(key.kind)
    return found


def container(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["spec"]["template"]["spec"]["containers"][0])


async def up(sim: Simulation) -> None:
    """The Deployment's controller has done all it was asked for."""
    found = there(sim, DEPLOYMENT)
    count, generation = found["spec"]["replicas"], found["metadata"]["generation"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), count)
    sim.cluster.set_status(DEPLOYMENT, {**counts, "observedGeneration": generation})
    await sim.settle()


async def serving(sim: Simulation) -> None:
    sim.add_model()
    sim.apply(simulation.SERVE, adapters=[])
    await sim.settle()
    await up(sim)
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")


def image(found: dict[str, Any]) -> None:
    """`kubectl set image`"""
    found["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"


def job(found: dict[str, Any]) -> None:
    """`kubectl rollout undo`"""
    for variable in found["spec"]["template"]["spec"]["containers"][0]["env"]:
        if variable["name"] == "MENS_JOB":
            variable["value"] = "{}"


def probe(found: dict[str, Any]) -> None:
    """`kubectl edit`, with a field taken out"""
    del found["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (image, "spec.template.spec.containers[main].image"),
        (job, "spec.template.spec.containers[main].env[MENS_JOB].value"),
        (probe, "spec.template.spec.containers[main].readinessProbe"),
    ],
    ids=["image", "job", "probe"],
)
async def test_changed_deployment_is_restored(
    sim: Simulation, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    """At once, with a warning that names the field and how to find out who it was."""
    await serving(sim)
    before = container(there(sim, DEPLOYMENT))
    await sim.advance(100)
    changed = there(sim, DEPLOYMENT)
    change(changed)
    sim.cluster.put(changed)
    await sim.settle()
    assert container(there(sim, DEPLOYMENT)) == before
    notes = [event for event in sim.cluster.objects(kinds.EVENT) if event["type"] == "Warning"]
    assert notes[-1]["reason"] == "ObjectChanged"
    assert f"changed {field} of Deployment chat; the operator restores it" in notes[-1]["note"]
    assert "-n default deployment chat -o yaml --show-managed-fields" in notes[-1]["note"]
    await up(sim)
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")


async def test_changed_service_is_restored(sim: Simulation) -> None:
    """Another selector would send the requests to other pods."""
    await serving(sim)
    before = there(sim, SERVICE)["spec"]
    await sim.advance(100)
    sim.cluster.put({**there(sim, SERVICE), "spec": {**before, "selector": {"app": "other"}}})
    await sim.settle()
    assert there(sim, SERVICE)["spec"] == before
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")


async def test_fields_of_other_owners_are_left_alone(sim: Simulation) -> None:
    """Defaults, another spelling, labels of others, `kubectl rollout restart`."""
    await serving(sim)
    await sim.advance(100)
    found = there(sim, DEPLOYMENT)
    found["spec"]["template"]["metadata"]["annotations"] = {"restartedAt": "now"}
    found["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    found["metadata"]["labels"]["team"] = "a"
    sim.cluster.put(found)
    sim.cluster.writes.clear()
    await sim.advance(700)
    assert not sim.writes("apply")
    assert there(sim, DEPLOYMENT)["spec"] == found["spec"]


async def test_contested_field_is_restored_once_a_minute(sim: Simulation) -> None:
    """Another controller that always answers is not fought faster; the status names the field."""
    await serving(sim)
    await sim.advance(100)
    sim.cluster.writes.clear()

    def answers(verb: str, key: kinds.Key) -> None:
        if verb == "apply" and key == DEPLOYMENT:
            found = there(sim, DEPLOYMENT)
            image(found)
            sim.cluster.put(found)

    sim.cluster.after_write = answers
    answers("apply", DEPLOYMENT)
    await sim.settle()
    await sim.advance(290)
    written = [write for write in sim.writes("apply") if write.key == DEPLOYMENT]
    assert len(written) == 5
    status, reason, text = sim.condition(SERVE_KEY, "Ready")
    assert (status, reason) == ("False", "ObjectChanged")
    assert "containers[main].image" in text


def test_only_lost_fields_are_found() -> None:
    """As a real API server records them: lists by their keys, atomic maps as a whole."""
    wanted = {
        "selector": {"a": "b"},
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}],
        "resources": {"limits": {"cpu": "1000m"}},
        "note": "",
    }
    port: dict[str, Any] = {"f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}
    owned = {
        "f:selector": {},
        "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, **port}},
        "f:resources": {"f:limits": {"f:cpu": {}}},
    }
    assert field_ownership.lost_field(wanted, owned) is None
    del port["f:targetPort"]
    owned["f:ports"] = {'k:{"port":80,"protocol":"TCP"}': port}
    assert field_ownership.lost_field(wanted, owned) == "spec.ports[http].targetPort"
    other = {"name": "more", "port": 81, "protocol": "TCP"}
    assert field_ownership.lost_field({"ports": [other]}, owned) == "spec.ports[more]"
