"""What an endpoint does while its inputs come, go and come back: it goes on serving."""

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
    sim.user(simulation.CORPUS)
    sim.user(simulation.TRAINRUN, **run)
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


async def test_an_optional_adapter_is_not_taken_out_for_a_failed_read(sim: Simulation) -> None:
    """The store is away for a moment: pods that work are not replaced."""
    await trained(sim)
    sim.user(simulation.SERVE, adapters=tuned(optional=True))
    await sim.settle()
    await sim.advance(70)
    sim.user(simulation.SERVE, adapters=tuned(optional=True), limits={"maxTokens": 1024})
    await sim.settle()
    await sim.advance(51)  # the base's manifest is still remembered, the adapter's is not
    with sim.store_down():
        sim.user(simulation.SERVE, adapters=tuned(optional=True), limits={"maxTokens": 1000})
        await sim.settle()
        assert served(sim) == (1, ["tuned"])
        (state,) = sim.status(SERVE_KEY)["adapters"]
        assert (state["ready"], state["reason"]) == (True, "StorageUnreachable")


@pytest.mark.parametrize("optional", [False, True])
async def test_a_run_that_is_gone_is_still_served(sim: Simulation, optional: bool) -> None:
    """Its TTL removes the run and not the artifact; the endpoint can even be changed."""
    await trained(sim, ttlSecondsAfterFinished=3600)
    sim.user(simulation.SERVE, adapters=tuned(optional=optional))
    await sim.settle()
    await up(sim)
    await sim.advance(3700)
    assert not sim.names_of(kinds.TRAINRUN)
    assert sim.said(SERVE_KEY, "Ready") == ("True", "Serving")
    sim.user(simulation.SERVE, adapters=tuned(optional=optional), limits={"maxTokens": 512})
    await sim.settle()
    await up(sim)
    assert served(sim) == (1, ["tuned"])
    assert sim.said(SERVE_KEY, "Ready") == ("True", "Serving")
    assert "no longer exists" in sim.status(SERVE_KEY)["adapters"][0]["message"]


async def test_another_run_that_is_not_there_is_no_excuse(sim: Simulation) -> None:
    """Only the run that was served is remembered: a new name must exist."""
    await trained(sim)
    sim.user(simulation.SERVE, adapters=tuned(optional=False))
    await sim.settle()
    await up(sim)
    other = [{"name": "tuned", "trainRunRef": {"name": "better"}}]
    sim.user(simulation.SERVE, adapters=other)
    await sim.settle()
    assert sim.said(SERVE_KEY, "Ready") == ("False", "TrainRunNotFound")
    assert served(sim) == (1, ["tuned"]), "what ran goes on"


async def test_a_run_that_trains_again_is_served_as_it_was(sim: Simulation) -> None:
    """Its last good adapter stays until there is a better one."""
    await trained(sim)
    sim.user(simulation.SERVE, adapters=tuned(optional=True))
    await sim.settle()
    await up(sim)
    old = sim.status(SERVE_KEY)["adapters"][0]["digest"]
    sim.user(simulation.TRAINRUN, lora={"rank": 8})
    await sim.settle()
    await sim.run_pod(RUN_KEY)
    await sim.advance(5)
    assert served(sim) == (1, ["tuned"])
    (state,) = sim.status(SERVE_KEY)["adapters"]
    assert (state["ready"], state["reason"], state["digest"]) == (True, "TrainRunNotReady", old)
    new = await sim.train()
    assert sim.status(SERVE_KEY)["adapters"][0]["digest"] == new


async def test_scaling_works_in_an_outage(sim: Simulation) -> None:
    """Somebody wants the GPUs back: the store has no say in that."""
    await trained(sim)
    sim.user(simulation.SERVE, adapters=tuned(optional=False), replicas=2)
    await sim.settle()
    await up(sim)
    template = next(iter(sim.cluster.objects(kinds.DEPLOYMENT)))["spec"]["template"]
    await sim.advance(200)
    with sim.store_down():
        sim.user(simulation.SERVE, adapters=tuned(optional=False), replicas=0)
        await sim.settle()
        assert served(sim) == (0, ["tuned"])
        (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
        assert found["spec"]["template"] == template


async def test_a_base_that_comes_late_is_found_soon(sim: Simulation) -> None:
    """As soon as a run would find it, not ten minutes later."""
    sim.user(simulation.SERVE, adapters=[])
    await sim.settle()
    assert sim.said(SERVE_KEY, "AdaptersReady") == ("Unknown", "Pending")
    assert sim.said(SERVE_KEY, "StorageReady") == ("True", "StorageReady")
    assert "read" not in sim.condition(SERVE_KEY, "StorageReady")[2]
    sim.add_model()
    await sim.advance(45)
    assert sim.names_of(kinds.DEPLOYMENT) == ["chat"]


async def test_an_adapter_of_unknown_license_is_a_matter_of_license(sim: Simulation) -> None:
    """LicenseCleared says it, as well as AdaptersReady."""
    await trained(sim)
    uri = "s3://mens/x/adapter"
    digest = sim.publish(uri, manifests.Kind.ADAPTER, known_license=False)
    adapters = [{"name": "u", "artifact": {"uri": uri, "digest": str(digest)}}]
    sim.user(simulation.SERVE, adapters=adapters)
    await sim.settle()
    assert sim.said(SERVE_KEY, "AdaptersReady") == ("False", "LicenseUnknown")
    assert sim.said(SERVE_KEY, "LicenseCleared") == ("False", "LicenseUnknown")
    assert sim.said(CORPUS_KEY, "LicenseCleared")[0] == "True"


def states(sim: Simulation) -> dict[str, tuple[bool, str, str | None]]:
    return {
        item["name"]: (item["ready"], item["reason"], item.get("digest"))
        for item in sim.status(SERVE_KEY)["adapters"]
    }


def really(sim: Simulation) -> dict[str, str]:
    """Name and digest of what the Deployment's pods are told."""
    (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
    container = found["spec"]["template"]["spec"]["containers"][0]
    env = {item["name"]: item.get("value") for item in container["env"]}
    told = json.loads(env["MENS_JOB"]).get("adapters", [])
    return {each["name"]: each["artifact"]["digest"] for each in told}


MISSING = {"name": "x", "trainRunRef": {"name": "nope"}}


async def test_an_adapter_that_nothing_serves_is_not_ready(sim: Simulation) -> None:
    """It is verified, but another one that is required holds everything up."""
    await trained(sim)
    good = tuned(optional=False)
    sim.user(simulation.SERVE, adapters=[*good, MISSING])
    await sim.settle()
    digest = sim.status(RUN_KEY)["artifact"]["digest"]
    assert states(sim)["tuned"] == (False, "Pending", digest)
    sim.user(simulation.SERVE, adapters=good)
    await sim.settle()
    assert states(sim) == {"tuned": (True, "AdaptersReady", digest)}


async def test_a_better_adapter_that_waits_is_not_said_to_be_served(sim: Simulation) -> None:
    """The status names what is served, and that a newer one is verified; scaling still works."""
    await trained(sim)
    good = tuned(optional=False)
    sim.user(simulation.SERVE, adapters=good, replicas=2)
    await sim.settle()
    old = really(sim)["tuned"]
    sim.user(simulation.SERVE, adapters=[*good, MISSING], replicas=2)
    sim.user(simulation.TRAINRUN, lora={"rank": 8})
    await sim.settle()
    new = str(await sim.train())
    assert new != old
    assert states(sim)["tuned"] == (True, "Pending", old)
    assert new in sim.status(SERVE_KEY)["adapters"][0]["message"]
    for replicas in (0, 3):
        sim.user(simulation.SERVE, adapters=[*good, MISSING], replicas=replicas)
        await sim.settle()
        assert served(sim) == (replicas, ["tuned"])
        assert really(sim) == {"tuned": old}
    sim.user(simulation.SERVE, adapters=good, replicas=3)
    await sim.settle()
    assert really(sim) == {"tuned": new}
    assert states(sim) == {"tuned": (True, "AdaptersReady", new)}


async def test_scaling_waits_for_no_other_change(sim: Simulation) -> None:
    """Limits that cannot be applied now are applied later; the replicas at once."""
    await trained(sim)
    sim.user(simulation.SERVE, adapters=tuned(optional=False), replicas=2)
    await sim.settle()
    await sim.advance(200)
    template = next(iter(sim.cluster.objects(kinds.DEPLOYMENT)))["spec"]["template"]
    changed: dict[str, Any] = {"adapters": tuned(optional=False), "limits": {"maxTokens": 512}}
    with sim.store_down():
        sim.user(simulation.SERVE, **changed, replicas=1)
        await sim.settle()
        (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
        assert (found["spec"]["replicas"], found["spec"]["template"]) == (1, template)
    await sim.advance(60)
    (found,) = sim.cluster.objects(kinds.DEPLOYMENT)
    assert found["spec"]["template"] != template


async def test_an_old_adapter_is_not_taken_for_that_of_another_run(sim: Simulation) -> None:
    """What is served keeps the name of the run that it came from."""
    await trained(sim)
    sim.user(simulation.SERVE, adapters=tuned(optional=False))
    await sim.settle()
    sim.user(simulation.SERVE, adapters=[{"name": "tuned", "trainRunRef": {"name": "better"}}])
    await sim.advance(100)
    (state,) = sim.status(SERVE_KEY)["adapters"]
    assert (state["ready"], state["trainRun"]) == (True, "tune")
    assert (state["reason"], state["digest"]) == ("TrainRunNotFound", really(sim)["tuned"])
