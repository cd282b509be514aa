"""Pods that outlive their Job and files that outlive their attempt are not trusted."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from mens.artifacts import refs
from mens_operator.cluster import kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, Simulation


async def corpus_runs(sim: Simulation) -> dict[str, Any]:
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    return sim.job(CORPUS_KEY)


def being_deleted(sim: Simulation, job: dict[str, Any], *, grace: int, node: str = "n1") -> None:
    """The API server sets the end of the grace period; the kubelet has not reported anything."""
    (pod,) = [item for item in sim.cluster.objects(kinds.POD) if "-x" in item["metadata"]["name"]]
    due = (sim.clock.moment + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
    pod["metadata"]["deletionTimestamp"] = due
    pod["spec"] = {"nodeName": node}
    sim.cluster.put(pod)


@pytest.mark.parametrize("how", ["deleted", "suspended"])
async def test_next_attempt_waits_for_a_pod_that_still_runs(sim: Simulation, how: str) -> None:
    """The garbage collector lags: until the pod has ended, its output folder is in use."""
    job = await corpus_runs(sim)
    sim.cluster.collects_at_once = False
    if how == "deleted":
        await sim.cluster.delete(kinds.key_of(job))
    else:
        sim.apply(simulation.CORPUS, suspend=True)
        await sim.settle()
        sim.apply(simulation.CORPUS, suspend=False)
    await sim.advance(8)
    assert not sim.names(kinds.JOB)
    status, reason, text = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("Unknown", "PodEnding")
    assert f"kubectl delete pod -n default {sim.pod_key(job).name}" in text
    being_deleted(sim, job, grace=120)
    await sim.advance(60)
    assert not sim.names(kinds.JOB)
    sim.cluster.collect()
    await sim.settle()
    assert sim.names(kinds.JOB) == [job["metadata"]["name"]]
    assert sim.job(CORPUS_KEY)["metadata"]["uid"] != job["metadata"]["uid"]


async def test_pod_of_a_deleted_job_with_the_same_name_is_ignored(sim: Simulation) -> None:
    """A pod belongs to the Job whose UID it carries, not to a Job with the same name."""
    job = await corpus_runs(sim)
    sim.cluster.collects_at_once = False
    await sim.cluster.delete(kinds.key_of(job))
    dead = {"exitCode": 64, "message": '{"reason": "SourceNotFound", "message": "gone"}'}
    ended = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": dead}}]}
    sim.cluster.set_status(sim.pod_key(job), ended)
    await sim.advance(5)
    heir = sim.job(CORPUS_KEY)
    assert heir["metadata"]["name"] == job["metadata"]["name"]
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded", "status": "True"}
    conditions = [{**failed, "lastTransitionTime": sim.timestamp()}]
    sim.cluster.set_status(kinds.key_of(heir), {"conditions": conditions})
    await sim.advance(6)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "Preempted")


async def test_pod_on_a_lost_node_is_reported(sim: Simulation) -> None:
    """Half a minute after its grace period the message names the node and what to do."""
    job = await corpus_runs(sim)
    being_deleted(sim, job, grace=120, node="worker-7")
    await sim.advance(100)
    assert sim.status_and_reason(CORPUS_KEY, "Running") == ("True", "Running"), (
        "it may well end in time"
    )
    await sim.advance(60)
    status, reason, text = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("Unknown", "NodeLost")
    assert "Pod docs-" in text
    assert "should have ended at 12:02:00 UTC, but node worker-7 does not respond" in text
    assert "kubectl delete node worker-7" in text
    assert sim.status_and_reason(CORPUS_KEY, "Running")[0] == "False"
    assert sim.names(kinds.JOB) == [job["metadata"]["name"]]


async def test_waiting_for_a_pod_on_a_lost_node_is_reported(sim: Simulation) -> None:
    """Also if its Job is gone: the next attempt cannot start, and the status reports why."""
    job = await corpus_runs(sim)
    sim.cluster.collects_at_once = False
    await sim.cluster.delete(kinds.key_of(job))
    being_deleted(sim, job, grace=30)
    await sim.advance(90)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "NodeLost")
    assert not sim.names(kinds.JOB)
    sim.cluster.collect()
    await sim.settle()
    assert sim.names(kinds.JOB) == [job["metadata"]["name"]]


async def training(sim: Simulation) -> None:
    await sim.start_run()
    await sim.start_pod(RUN_KEY)


def reports(sim: Simulation, **progress: Any) -> None:
    output = refs.Uri.parse(sim.mens_job(RUN_KEY)["output"])
    data = {"stage": "Training", "totalSteps": 60, **progress}
    sim.store.put_bytes(output / "progress.json", json.dumps(data).encode())


async def test_progress_of_a_previous_attempt_proves_nothing(sim: Simulation) -> None:
    """Step 50 of attempt 1 does not prove that attempt 2 has read its inputs."""
    await training(sim)
    reports(sim, step=50, attempt=1)
    await sim.advance(20)
    assert sim.status_and_reason(RUN_KEY, "Validated")[0] == "True"
    termination = json.dumps({"reason": "CorpusInvalid", "message": "bad"})
    await sim.end_pod(RUN_KEY, 64, termination)
    await sim.advance(31)
    await sim.start_pod(RUN_KEY)
    assert sim.mens_job(RUN_KEY)["attempt"] == 2
    await sim.advance(20)
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("Unknown", "Pending")
    assert "progress" not in sim.status(RUN_KEY)
    reports(sim, step=1, attempt=2)
    await sim.advance(20)
    assert sim.status_and_reason(RUN_KEY, "Validated")[0] == "True"
    assert sim.status(RUN_KEY)["progress"]["step"] == 1


async def test_proven_inputs_stay_proven_during_a_storage_outage(sim: Simulation) -> None:
    """Progress that cannot be read does not reset what this attempt has proven."""
    await training(sim)
    reports(sim, step=5, attempt=1)
    await sim.advance(20)
    assert sim.status_and_reason(RUN_KEY, "Validated")[0] == "True"
    sim.cluster.writes.clear()
    with sim.store_unreachable():
        await sim.advance(60)
        assert sim.status_and_reason(RUN_KEY, "Validated")[0] == "True"
    assert not sim.writes()


async def test_progress_without_attempt_is_shown_and_proves_nothing(sim: Simulation) -> None:
    """Older images write no attempt number: the status still shows the progress."""
    await training(sim)
    reports(sim, step=50)
    await sim.advance(20)
    assert sim.status(RUN_KEY)["progress"]["step"] == 50
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("Unknown", "Pending")
