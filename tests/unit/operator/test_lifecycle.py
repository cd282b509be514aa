"""Complete runs of the three kinds, on the in-memory cluster and store."""

from __future__ import annotations

import pytest

from mens_operator.cluster import kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, SERVE_KEY, Simulation


async def test_run_without_failures_costs_three_writes_and_two_events(sim: Simulation) -> None:
    """One Job, one status when it runs, one when it is verified."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    written = [write.verb for write in sim.writes() if write.key.kind != kinds.EVENT]
    assert written == ["apply", "apply_status", "apply_status"]
    events = [event["reason"] for event in sim.cluster.objects(kinds.EVENT)]
    assert events == ["Running", "Succeeded"]


async def test_corpus_train_run_and_endpoint_start_in_order(sim: Simulation) -> None:
    """Applied at once, each one waits for the one before."""
    base = sim.add_model()
    sim.apply(simulation.SERVE)
    sim.apply(simulation.TRAINRUN)
    sim.apply(simulation.CORPUS)
    await sim.settle()
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("Unknown", "CorpusNotReady")
    assert sim.status_and_reason(SERVE_KEY, "AdaptersReady") == ("False", "TrainRunNotReady")
    assert not sim.jobs(RUN_KEY)
    await sim.build_corpus()
    assert sim.mens_job(RUN_KEY)["base"]["digest"] == base
    digest = await sim.train()
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("True", "Succeeded")
    assert sim.status(RUN_KEY)["artifact"]["digest"] == digest
    assert sim.status(RUN_KEY)["heldOutLoss"] == {"before": "3.5", "after": "2.25"}
    assert sim.status_and_reason(SERVE_KEY, "AdaptersReady") == ("True", "AdaptersReady")
    owed = sim.condition(SERVE_KEY, "LicenseCleared")
    assert owed[0] == "True"
    assert owed[2].startswith("Apache-2.0 AND PSF-2.0: PermissiveWithAttribution")
    assert sim.names(kinds.DEPLOYMENT) == sim.names(kinds.SERVICE) == ["chat"]
    deployment = kinds.Key(kinds.DEPLOYMENT, "default", "chat")
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "observedGeneration": 1}
    sim.cluster.set_status(deployment, counts)
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")


@pytest.mark.parametrize("seconds", [1, 700])
async def test_idle_operator_writes_nothing(sim: Simulation, seconds: int) -> None:
    """A finished run costs no write, neither over time nor after a restart."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()
    sim.cluster.writes.clear()
    await sim.advance(seconds)
    sim.restart()
    await sim.settle()
    assert not sim.writes()
