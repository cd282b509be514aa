"""Pod settings (resources, queue) change how a pod runs, and never repeat finished work."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mens.api import corpus, trainrun
from mens_operator.cluster import kinds
from mens_operator.manifests import names
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, Simulation

OUT_OF_MEMORY = 71
LARGE = {"cpu": "2", "memory": "64Gi"}
SCHEDULE = {"microBatchSize": 8, "effectiveBatchSize": 8}


async def runs_out_of_memory(sim: Simulation) -> None:
    await sim.start_pod(RUN_KEY)
    await sim.end_pod(RUN_KEY, OUT_OF_MEMORY)
    await sim.advance(301)


def micro_batch(sim: Simulation) -> int:
    return int(sim.mens_job(RUN_KEY)["spec"]["schedule"]["microBatchSize"])


@pytest.mark.parametrize("change", [{"resources": LARGE}, {"queueName": "team-a"}])
async def test_pod_settings_do_not_restart_a_finished_run(
    sim: Simulation, change: dict[str, Any]
) -> None:
    """Other resources or another queue would give the same adapter."""
    await sim.start_run()
    await sim.train()
    artifact = sim.status(RUN_KEY)["artifact"]
    sim.cluster.writes.clear()
    sim.apply(simulation.TRAINRUN, **change)
    await sim.advance(60)
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("True", "Succeeded")
    assert sim.status(RUN_KEY)["artifact"] == artifact
    assert [write.key.kind for write in sim.writes()] == [kinds.TRAINRUN]


async def test_pod_settings_do_not_restart_a_running_pod(sim: Simulation) -> None:
    """Its pod keeps its resources; the next attempt gets those of the spec."""
    await sim.start_run()
    await sim.start_pod(RUN_KEY)
    before = sim.job(RUN_KEY)
    sim.apply(simulation.TRAINRUN, resources=LARGE)
    await sim.advance(60)
    assert sim.job(RUN_KEY)["metadata"]["uid"] == before["metadata"]["uid"]
    await sim.end_pod(RUN_KEY, 70)
    await sim.advance(11)
    container = sim.job(RUN_KEY)["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["memory"] == "64Gi"
    assert sim.job(RUN_KEY)["metadata"]["name"].endswith("-2")


async def test_waiting_pod_is_recreated_with_new_settings(sim: Simulation) -> None:
    """No node had the memory: with less of it, the same attempt can start."""
    await sim.start_run(resources=LARGE)
    before = sim.job(RUN_KEY)
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    sim.set_pod(before, {"phase": "Pending", "conditions": [{**waits, "message": "no memory"}]})
    await sim.advance(10)
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("Unknown", "Unschedulable")
    sim.apply(simulation.TRAINRUN, resources={"cpu": "1", "memory": "1Gi"})
    await sim.advance(5)
    after = sim.job(RUN_KEY)
    assert after["metadata"]["name"] == before["metadata"]["name"]
    container = after["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["memory"] == "1Gi"
    await sim.start_pod(RUN_KEY)
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("Unknown", "Running")


async def test_evicted_pod_does_not_count_as_started(sim: Simulation) -> None:
    """Its replacement waits for room: lower resources apply at once."""
    await sim.start_run(resources=LARGE)
    job = sim.job(RUN_KEY)
    disrupted = {"type": "DisruptionTarget", "status": "True", "message": "evicted"}
    sim.set_pod(job, {"phase": "Failed", "conditions": [disrupted]})
    (evicted,) = [
        pod for pod in sim.cluster.objects(kinds.POD) if pod["status"]["phase"] == "Failed"
    ]
    meta = {**evicted["metadata"], "name": f"{evicted['metadata']['name']}-2"}
    for gone in ("uid", "resourceVersion", "creationTimestamp"):
        meta.pop(gone)
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}
    heir = sim.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta})
    sim.cluster.set_status(kinds.key_of(heir), {"phase": "Pending", "conditions": [waits]})
    await sim.advance(10)
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("Unknown", "Unschedulable")
    sim.apply(simulation.TRAINRUN, resources={"cpu": "1", "memory": "1Gi"})
    await sim.advance(60)
    container = sim.job(RUN_KEY)["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["memory"] == "1Gi"


def as_before(sim: Simulation, owner: kinds.Key) -> None:
    """Give a finished or running resource the names that earlier versions gave: resources in
    the key, and no mark of how the Job was to run."""
    (raw,) = sim.cluster.objects(owner.kind)
    model = corpus.MensCorpus if owner == CORPUS_KEY else trainrun.MensTrainRun
    read = model.model_validate(raw)
    beside = {"suspend", "retry", "ttl_seconds_after_finished", "active_deadline_seconds"}
    spec = read.spec.model_dump(mode="json", exclude=beside, exclude_defaults=True)
    old = names.key(read.metadata.uid, spec)
    if owner == RUN_KEY:
        work = sim.mens_job(RUN_KEY)
        old_key = names.key(old, work["base"]["digest"], work["corpus"]["digest"])
    else:
        old_key = old
    job = sim.job(owner)
    pods = [pod for pod in sim.cluster.objects(kinds.POD) if kinds.key_of(pod) == sim.pod_key(job)]
    for item in (job, *pods):
        labels = item["metadata"]["labels"]
        stored = sim.cluster._objects.pop(kinds.key_of(item))
        new = {**item, "metadata": {**item["metadata"], "name": names.job(owner.name, old_key, 1)}}
        if item is job:
            kept = {
                name: value
                for name, value in labels.items()
                if name != names.POD_SETTINGS_HASH_LABEL
            }
            new["metadata"]["labels"] = {
                **kept,
                names.KEY_LABEL: old_key,
                names.SPEC_HASH_LABEL: old,
            }
        else:
            new["metadata"]["name"] += "-x"
            job_name = {"batch.kubernetes.io/job-name": names.job(owner.name, old_key, 1)}
            new["metadata"]["labels"] = {**labels, **job_name}
        sim.cluster._objects[kinds.key_of(new)] = dataclasses.replace(stored, object=new)
    status = {**raw["status"], "jobName": names.job(owner.name, old_key, 1)}
    sim.cluster.set_status(owner, status)


@pytest.mark.parametrize("owner", [CORPUS_KEY, RUN_KEY], ids=["corpus", "run"])
@pytest.mark.parametrize("edited", [False, True])
async def test_upgrade_does_not_repeat_finished_runs(
    sim: Simulation, owner: kinds.Key, edited: bool
) -> None:
    """What is done under a key of before stays done, also when its time to live is edited."""
    text = simulation.CORPUS if owner == CORPUS_KEY else simulation.TRAINRUN
    sim.add_model()
    sim.apply(simulation.CORPUS, resources=LARGE)
    sim.apply(simulation.TRAINRUN, resources=LARGE)
    await sim.settle()
    await sim.build_corpus()
    await sim.train()
    as_before(sim, owner)
    sim.restart()
    if edited:
        sim.apply(text, resources=LARGE, ttlSecondsAfterFinished=10**6)
    sim.cluster.writes.clear()
    await sim.advance(60)
    assert sim.status_and_reason(owner, "Succeeded") == ("True", "Succeeded")
    assert not [write for write in sim.writes() if write.key.kind == kinds.JOB]


async def test_upgrade_keeps_running_jobs(sim: Simulation) -> None:
    """A Job that an earlier version created continues, and its retries continue to count."""
    await sim.start_run(resources=LARGE)
    await sim.start_pod(RUN_KEY)
    as_before(sim, RUN_KEY)
    old = sim.job(RUN_KEY)["metadata"]
    sim.restart()
    await sim.advance(60)
    assert [job["metadata"]["uid"] for job in sim.jobs(RUN_KEY)] == [old["uid"]]
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("Unknown", "Running")
    await sim.end_pod(RUN_KEY, 70)
    await sim.advance(11)
    assert sim.job(RUN_KEY)["metadata"]["name"] == old["name"].removesuffix("-1") + "-2"


async def test_smaller_batch_applies_to_its_inputs_only(sim: Simulation) -> None:
    """Memory that ran out with other inputs does not matter for these."""
    await sim.start_run(schedule=SCHEDULE)
    await runs_out_of_memory(sim)
    assert micro_batch(sim) == 4
    sim.apply(simulation.TRAINRUN, schedule={"microBatchSize": 6, "effectiveBatchSize": 6})
    await sim.settle()
    assert micro_batch(sim) == 6
    job = sim.job(RUN_KEY)  # It ends before anybody has seen it run.
    ended = [{"state": {"terminated": {"exitCode": OUT_OF_MEMORY}}}]
    sim.set_pod(job, {"phase": "Failed", "containerStatuses": ended})
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded", "status": "True"}
    conditions = [{**failed, "lastTransitionTime": sim.timestamp()}]
    sim.cluster.set_status(kinds.key_of(job), {"conditions": conditions})
    await sim.advance(301)
    assert micro_batch(sim) == 3, "half of what this Job used"


async def test_new_run_starts_with_the_batch_of_its_spec(sim: Simulation) -> None:
    """More memory was missing: the micro-batch is that of the spec again."""
    await sim.start_run(schedule={"microBatchSize": 2, "effectiveBatchSize": 2}, retry={"limit": 0})
    await runs_out_of_memory(sim)
    await runs_out_of_memory(sim)
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("False", "OutOfMemory")
    sim.apply(
        simulation.TRAINRUN,
        schedule={"microBatchSize": 2, "effectiveBatchSize": 2},
        resources=LARGE,
    )
    await sim.settle()
    assert micro_batch(sim) == 2
