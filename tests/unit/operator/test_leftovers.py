"""Pods that outlive their Job, files that outlive their attempt: nothing of them is believed."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from mens_operator.cluster import kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, Simulation


async def corpus_runs(sim: Simulation) -> dict[str, Any]:
    sim.user(simulation.CORPUS)
    await sim.settle()
    await sim.run_pod(CORPUS_KEY)
    return sim.job(CORPUS_KEY)


def being_deleted(sim: Simulation, job: dict[str, Any], *, grace: int, node: str = "n1") -> None:
    """The API server notes when the pod's grace is over; its kubelet has not said anything."""
    (pod,) = [item for item in sim.cluster.objects(kinds.POD) if "-x" in item["metadata"]["name"]]
    due = (sim.clock.moment + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
    pod["metadata"]["deletionTimestamp"] = due
    pod["spec"] = {"nodeName": node}
    sim.cluster.put(pod)


@pytest.mark.parametrize("how", ["deleted", "suspended"])
async def test_a_job_whose_pod_still_runs_has_no_heir(sim: Simulation, how: str) -> None:
    """The garbage collector lags: until the pod has ended, nothing else gets its output folder."""
    job = await corpus_runs(sim)
    sim.cluster.collects_at_once = False
    if how == "deleted":
        await sim.cluster.delete(kinds.key_of(job))
    else:
        sim.user(simulation.CORPUS, suspend=True)
        await sim.settle()
        sim.user(simulation.CORPUS, suspend=False)
    await sim.advance(8)
    assert not sim.names_of(kinds.JOB)
    status, reason, text = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("Unknown", "PodEnding")
    assert f"kubectl delete pod -n default {sim.pod_of(job).name}" in text
    being_deleted(sim, job, grace=120)
    await sim.advance(60)
    assert not sim.names_of(kinds.JOB)
    sim.cluster.collect()
    await sim.settle()
    assert sim.names_of(kinds.JOB) == [job["metadata"]["name"]]
    assert sim.job(CORPUS_KEY)["metadata"]["uid"] != job["metadata"]["uid"]


async def test_the_end_of_a_namesakes_pod_is_not_that_of_the_job(sim: Simulation) -> None:
    """A pod belongs to the Job whose UID it carries, not to whatever has its name now."""
    job = await corpus_runs(sim)
    sim.cluster.collects_at_once = False
    await sim.cluster.delete(kinds.key_of(job))
    dead = {"exitCode": 64, "message": '{"reason": "SourceNotFound", "message": "gone"}'}
    ended = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": dead}}]}
    sim.cluster.set_status(sim.pod_of(job), ended)
    await sim.advance(5)
    heir = sim.job(CORPUS_KEY)
    assert heir["metadata"]["name"] == job["metadata"]["name"]
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded", "status": "True"}
    conditions = [{**failed, "lastTransitionTime": sim.stamp()}]
    sim.cluster.set_status(kinds.key_of(heir), {"conditions": conditions})
    await sim.advance(6)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "Preempted")


async def test_a_pod_on_a_dead_node_is_not_said_to_run(sim: Simulation) -> None:
    """Half a minute after its grace the node is named, and what a person can do about it."""
    job = await corpus_runs(sim)
    being_deleted(sim, job, grace=120, node="worker-7")
    await sim.advance(100)
    assert sim.said(CORPUS_KEY, "Running") == ("True", "Running"), "it may well end in time"
    await sim.advance(60)
    status, reason, text = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("Unknown", "NodeLost")
    assert "Pod docs-" in text
    assert "should have ended at 12:02:00 UTC, but node worker-7 does not respond" in text
    assert "kubectl delete node worker-7" in text
    assert sim.said(CORPUS_KEY, "Running")[0] == "False"
    assert sim.names_of(kinds.JOB) == [job["metadata"]["name"]]


async def test_waiting_for_a_pod_on_a_dead_node_is_said(sim: Simulation) -> None:
    """Also where its Job is gone: the next attempt cannot begin, and the status says why."""
    job = await corpus_runs(sim)
    sim.cluster.collects_at_once = False
    await sim.cluster.delete(kinds.key_of(job))
    being_deleted(sim, job, grace=30)
    await sim.advance(90)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "NodeLost")
    assert not sim.names_of(kinds.JOB)
    sim.cluster.collect()
    await sim.settle()
    assert sim.names_of(kinds.JOB) == [job["metadata"]["name"]]


async def training(sim: Simulation) -> None:
    await sim.begin_run()
    await sim.run_pod(RUN_KEY)


def reports(sim: Simulation, **progress: Any) -> None:
    output = simulation.refs.Uri.parse(sim.work(RUN_KEY)["output"])
    data = {"stage": "Training", "totalSteps": 60, **progress}
    sim.store.put_bytes(output / "progress.json", json.dumps(data).encode())


async def test_progress_of_an_attempt_before_proves_nothing(sim: Simulation) -> None:
    """Step 50 of attempt 1 does not say that attempt 2 has read its inputs."""
    await training(sim)
    reports(sim, step=50, attempt=1)
    await sim.advance(20)
    assert sim.said(RUN_KEY, "Validated")[0] == "True"
    said = json.dumps({"reason": "CorpusInvalid", "message": "bad"})
    await sim.end(RUN_KEY, 64, said)
    await sim.advance(31)
    await sim.run_pod(RUN_KEY)
    assert sim.work(RUN_KEY)["attempt"] == 2
    await sim.advance(20)
    assert sim.said(RUN_KEY, "Validated") == ("Unknown", "Pending")
    assert "progress" not in sim.status(RUN_KEY)
    reports(sim, step=1, attempt=2)
    await sim.advance(20)
    assert sim.said(RUN_KEY, "Validated")[0] == "True"
    assert sim.status(RUN_KEY)["progress"]["step"] == 1


async def test_inputs_that_were_right_stay_right_while_the_store_is_away(sim: Simulation) -> None:
    """Progress that cannot be read takes back nothing that this attempt has proved."""
    await training(sim)
    reports(sim, step=5, attempt=1)
    await sim.advance(20)
    assert sim.said(RUN_KEY, "Validated")[0] == "True"
    sim.cluster.writes.clear()
    with sim.store_down():
        await sim.advance(60)
        assert sim.said(RUN_KEY, "Validated")[0] == "True"
    assert not sim.writes()


async def test_progress_without_a_number_is_shown_and_proves_nothing(sim: Simulation) -> None:
    """Images of before write none: people still see how far a run is."""
    await training(sim)
    reports(sim, step=50)
    await sim.advance(20)
    assert sim.status(RUN_KEY)["progress"]["step"] == 50
    assert sim.said(RUN_KEY, "Validated") == ("Unknown", "Pending")
