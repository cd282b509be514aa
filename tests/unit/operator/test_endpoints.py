"""Endpoints keep serving while their inputs appear, disappear and return."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mens.artifacts import manifests
from mens_operator.cluster import kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, SERVE_KEY, Simulation

DEPLOYMENT = kinds.Key(kinds.DEPLOYMENT, "default", "chat")


def tuned(*, optional: bool) -> list[dict[str, Any]]:
    return [{"name": "tuned", "trainRunRef": {"name": "tune"}, "optional": optional}]


async def trained(sim: Simulation, **run: Any) -> None:
    sim.add_model()
    sim.apply(simulation.CORPUS)
    sim.apply(simulation.TRAINRUN, **run)
    await sim.settle()
    await sim.build_corpus()
    await sim.train()


async def up(sim: Simulation) -> None:
    """The Deployment's controller has done all it was asked for."""
    found = next(iter(sim.cluster.objects(kinds.DEPLOYMENT)))
    count, generation = found["spec"]["replicas"], found["metadata"].get("generation", 1)
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), count)
    sim.cluster.set_status(DEPLOYMENT, {**counts, "observedGeneration": generation})
    await sim.settle()


def served(sim: Simulation) -> tuple[int, list[str]]:
    """Replicas and adapters of the Deployment."""
    (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
    container = found["spec"]["template"]["spec"]["containers"][0]
    env = {item["name"]: item.get("value") for item in container["env"]}
    adapters = [each["name"] for each in json.loads(env["MENS_JOB"]).get("adapters", [])]
    return found["spec"]["replicas"], adapters


async def test_storage_outage_keeps_an_optional_adapter(sim: Simulation) -> None:
    """The store is down for a moment: working pods are not replaced."""
    await trained(sim)
    sim.apply(simulation.SERVE, adapters=tuned(optional=True))
    await sim.settle()
    await sim.advance(70)
    sim.apply(simulation.SERVE, adapters=tuned(optional=True), limits={"maxTokens": 1024})
    await sim.settle()
    await sim.advance(51)  # the base's manifest is still remembered, the adapter's is not
    with sim.store_unreachable():
        sim.apply(simulation.SERVE, adapters=tuned(optional=True), limits={"maxTokens": 1000})
        await sim.settle()
        assert served(sim) == (1, ["tuned"])
        (state,) = sim.status(SERVE_KEY)["adapters"]
        assert (state["ready"], state["reason"]) == (True, "StorageUnreachable")


@pytest.mark.parametrize("optional", [False, True])
async def test_adapter_of_a_deleted_run_is_still_served(sim: Simulation, optional: bool) -> None:
    """The TTL deletes the run and not the artifact; the endpoint can still be changed."""
    await trained(sim, ttlSecondsAfterFinished=3600)
    sim.apply(simulation.SERVE, adapters=tuned(optional=optional))
    await sim.settle()
    await up(sim)
    await sim.advance(3700)
    assert not sim.names(kinds.TRAINRUN)
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")
    sim.apply(simulation.SERVE, adapters=tuned(optional=optional), limits={"maxTokens": 512})
    await sim.settle()
    await up(sim)
    assert served(sim) == (1, ["tuned"])
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")
    assert "no longer exists" in sim.status(SERVE_KEY)["adapters"][0]["message"]


async def test_missing_run_that_was_never_served_is_an_error(sim: Simulation) -> None:
    """Only the run that was served is remembered: a new name must exist."""
    await trained(sim)
    sim.apply(simulation.SERVE, adapters=tuned(optional=False))
    await sim.settle()
    await up(sim)
    other = [{"name": "tuned", "trainRunRef": {"name": "better"}}]
    sim.apply(simulation.SERVE, adapters=other)
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("False", "TrainRunNotFound")
    assert served(sim) == (1, ["tuned"]), "the running configuration continues"


async def test_run_that_trains_again_keeps_its_served_adapter(sim: Simulation) -> None:
    """Its last artifact stays until there is a new one."""
    await trained(sim)
    sim.apply(simulation.SERVE, adapters=tuned(optional=True))
    await sim.settle()
    await up(sim)
    old = sim.status(SERVE_KEY)["adapters"][0]["digest"]
    sim.apply(simulation.TRAINRUN, lora={"rank": 8})
    await sim.settle()
    await sim.start_pod(RUN_KEY)
    await sim.advance(5)
    assert served(sim) == (1, ["tuned"])
    (state,) = sim.status(SERVE_KEY)["adapters"]
    assert (state["ready"], state["reason"], state["digest"]) == (True, "TrainRunNotReady", old)
    new = await sim.train()
    assert sim.status(SERVE_KEY)["adapters"][0]["digest"] == new


async def test_scaling_works_during_a_storage_outage(sim: Simulation) -> None:
    """Replicas can always change, for example to free GPUs."""
    await trained(sim)
    sim.apply(simulation.SERVE, adapters=tuned(optional=False), replicas=2)
    await sim.settle()
    await up(sim)
    template = next(iter(sim.cluster.objects(kinds.DEPLOYMENT)))["spec"]["template"]
    await sim.advance(200)
    with sim.store_unreachable():
        sim.apply(simulation.SERVE, adapters=tuned(optional=False), replicas=0)
        await sim.settle()
        assert served(sim) == (0, ["tuned"])
        (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
        assert found["spec"]["template"] == template


async def test_late_base_model_is_found_soon(sim: Simulation) -> None:
    """As soon as a run would find it, not ten minutes later."""
    sim.apply(simulation.SERVE, adapters=[])
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "AdaptersReady") == ("Unknown", "Pending")
    assert sim.status_and_reason(SERVE_KEY, "StorageReady") == ("True", "StorageReady")
    assert "read" not in sim.condition(SERVE_KEY, "StorageReady")[2]
    sim.add_model()
    await sim.advance(45)
    assert sim.names(kinds.DEPLOYMENT) == ["chat"]


async def test_adapter_of_unknown_license_sets_license_cleared(sim: Simulation) -> None:
    """LicenseCleared reports it, as well as AdaptersReady."""
    await trained(sim)
    uri = "s3://mens/x/adapter"
    digest = sim.publish(uri, manifests.Kind.ADAPTER, known_license=False)
    adapters = [{"name": "u", "artifact": {"uri": uri, "digest": str(digest)}}]
    sim.apply(simulation.SERVE, adapters=adapters)
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "AdaptersReady") == ("False", "LicenseUnknown")
    assert sim.status_and_reason(SERVE_KEY, "LicenseCleared") == ("False", "LicenseUnknown")
    assert sim.status_and_reason(CORPUS_KEY, "LicenseCleared")[0] == "True"


def states(sim: Simulation) -> dict[str, tuple[bool, str, str | None]]:
    return {
        item["name"]: (item["ready"], item["reason"], item.get("digest"))
        for item in sim.status(SERVE_KEY)["adapters"]
    }


def really(sim: Simulation) -> dict[str, str]:
    """Name and digest of the adapters in the configuration of the Deployment's pods."""
    (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
    container = found["spec"]["template"]["spec"]["containers"][0]
    env = {item["name"]: item.get("value") for item in container["env"]}
    served = json.loads(env["MENS_JOB"]).get("adapters", [])
    return {each["name"]: each["artifact"]["digest"] for each in served}


MISSING = {"name": "x", "trainRunRef": {"name": "nope"}}


async def test_adapter_that_is_not_served_is_not_ready(sim: Simulation) -> None:
    """It is verified, but another required adapter blocks the configuration."""
    await trained(sim)
    good = tuned(optional=False)
    sim.apply(simulation.SERVE, adapters=[*good, MISSING])
    await sim.settle()
    digest = sim.status(RUN_KEY)["artifact"]["digest"]
    assert states(sim)["tuned"] == (False, "Pending", digest)
    sim.apply(simulation.SERVE, adapters=good)
    await sim.settle()
    assert states(sim) == {"tuned": (True, "AdaptersReady", digest)}


async def test_status_shows_the_served_adapter_not_the_waiting_one(sim: Simulation) -> None:
    """The status has the served artifact and a verified newer one; scaling still works."""
    await trained(sim)
    good = tuned(optional=False)
    sim.apply(simulation.SERVE, adapters=good, replicas=2)
    await sim.settle()
    old = really(sim)["tuned"]
    sim.apply(simulation.SERVE, adapters=[*good, MISSING], replicas=2)
    sim.apply(simulation.TRAINRUN, lora={"rank": 8})
    await sim.settle()
    new = str(await sim.train())
    assert new != old
    assert states(sim)["tuned"] == (True, "Pending", old)
    assert new in sim.status(SERVE_KEY)["adapters"][0]["message"]
    for replicas in (0, 3):
        sim.apply(simulation.SERVE, adapters=[*good, MISSING], replicas=replicas)
        await sim.settle()
        assert served(sim) == (replicas, ["tuned"])
        assert really(sim) == {"tuned": old}
    sim.apply(simulation.SERVE, adapters=good, replicas=3)
    await sim.settle()
    assert really(sim) == {"tuned": new}
    assert states(sim) == {"tuned": (True, "AdaptersReady", new)}


async def test_scaling_does_not_wait_for_other_changes(sim: Simulation) -> None:
    """Limits that cannot be applied now are applied later; the replicas at once."""
    await trained(sim)
    sim.apply(simulation.SERVE, adapters=tuned(optional=False), replicas=2)
    await sim.settle()
    await sim.advance(200)
    template = next(iter(sim.cluster.objects(kinds.DEPLOYMENT)))["spec"]["template"]
    changed: dict[str, Any] = {"adapters": tuned(optional=False), "limits": {"maxTokens": 512}}
    with sim.store_unreachable():
        sim.apply(simulation.SERVE, **changed, replicas=1)
        await sim.settle()
        (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
        assert (found["spec"]["replicas"], found["spec"]["template"]) == (1, template)
    await sim.advance(60)
    (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
    assert found["spec"]["template"] != template


async def test_served_adapter_keeps_the_name_of_its_run(sim: Simulation) -> None:
    """An adapter that is still served is not attributed to another run."""
    await trained(sim)
    sim.apply(simulation.SERVE, adapters=tuned(optional=False))
    await sim.settle()
    sim.apply(simulation.SERVE, adapters=[{"name": "tuned", "trainRunRef": {"name": "better"}}])
    await sim.advance(100)
    (state,) = sim.status(SERVE_KEY)["adapters"]
    assert (state["ready"], state["trainRun"]) == (True, "tune")
    assert (state["reason"], state["digest"]) == ("TrainRunNotFound", really(sim)["tuned"])
