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
    assert "is gone" in sim.status(SERVE_KEY)["adapters"][0]["message"]


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


async def test_an_adapter_of_unknown_licence_is_a_matter_of_licence(sim: Simulation) -> None:
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
