"""Spec changes, lost Jobs and evicted pods at bad moments of a run."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from mens.api import corpus, trainrun
from mens.artifacts import manifests
from mens_operator.cluster import errors, kinds
from mens_operator.plans import outcomes, planner, run_kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, Simulation

OUT_OF_MEMORY = 71
DEFECT = 70


def termination(reason: str, message: str) -> str:
    return json.dumps({"reason": reason, "message": message})


async def test_edit_during_a_storage_outage_is_applied_later(sim: Simulation) -> None:
    """A finished run with a new spec waits for the store, and then runs again."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()
    await sim.advance(100)
    with sim.store_unreachable():
        sim.apply(simulation.CORPUS, split={"seed": 18})
        await sim.settle()
        assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "StorageUnreachable")
        await sim.advance(60)
    await sim.advance(130)
    assert len(sim.jobs(CORPUS_KEY)) == 1, "the old inputs' Job went, the new one's came"
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    assert sim.status_and_reason(CORPUS_KEY, "StorageReady")[0] == "True"


async def test_failed_run_follows_its_new_corpus(sim: Simulation) -> None:
    """The end of the previous spec is not the end of the new one."""
    sim.add_model()
    sim.apply(simulation.CORPUS)
    sim.apply(simulation.TRAINRUN, retry={"limit": 0})
    await sim.settle()
    await sim.build_corpus()
    await sim.start_pod(RUN_KEY)
    await sim.end_pod(RUN_KEY, DEFECT, termination("InternalError", "boom"))
    assert sim.status_and_reason(RUN_KEY, "Succeeded")[0] == "False"
    sim.apply(simulation.TRAINRUN, corpusRef={"name": "late"}, retry={"limit": 0})
    await sim.settle()
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("Unknown", "CorpusNotFound")
    sim.apply(simulation.CORPUS.replace("name: docs", "name: late", 1))
    await sim.settle()
    late = kinds.Key(kinds.CORPUS, "default", "late")
    await sim.start_pod(late)
    details = {"rows": {"train": 9, "validation": 1}}
    sim.publish(sim.mens_job(late)["output"], manifests.Kind.CORPUS, details=details)
    await sim.end_pod(late, 0)
    await sim.advance(1300)
    assert sim.mens_job(RUN_KEY)["corpus"]["uri"] == sim.status(late)["artifact"]["uri"]


@pytest.mark.parametrize("how", ["suspended", "deleted"])
async def test_lost_job_does_not_count_the_previous_attempt_twice(
    sim: Simulation, how: str
) -> None:
    """Attempt 2 resumes as attempt 2; what ended attempt 1 was counted once."""
    sim.apply(simulation.CORPUS, retry={"limit": 1})
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    await sim.end_pod(CORPUS_KEY, DEFECT, termination("InternalError", "boom"))
    await sim.advance(11)
    await sim.start_pod(CORPUS_KEY)
    second = kinds.key_of(sim.job(CORPUS_KEY))
    assert second.name.endswith("-2")
    if how == "suspended":
        sim.apply(simulation.CORPUS, retry={"limit": 1}, suspend=True)
        await sim.settle()
    else:
        await sim.cluster.delete(second)
    await sim.cluster.delete(kinds.Key(kinds.POD, "default", f"{second.name}-x"))
    sim.apply(simulation.CORPUS, retry={"limit": 1}, suspend=False)
    await sim.advance(30)
    assert sim.job(CORPUS_KEY)["metadata"]["name"] == second.name
    assert sim.status(CORPUS_KEY)["attempts"] == 1
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_one_out_of_memory_halves_the_batch_once(sim: Simulation) -> None:
    """Also if the Job of the next attempt is deleted by a user."""
    sim.add_model()
    sim.apply(simulation.CORPUS)
    sim.apply(simulation.TRAINRUN, schedule={"microBatchSize": 4, "effectiveBatchSize": 4})
    await sim.settle()
    await sim.build_corpus()
    await sim.start_pod(RUN_KEY)
    await sim.end_pod(RUN_KEY, OUT_OF_MEMORY)
    await sim.advance(11)
    await sim.start_pod(RUN_KEY)
    assert sim.status(RUN_KEY)["microBatchSize"] == 2
    second = kinds.key_of(sim.job(RUN_KEY))
    await sim.cluster.delete(second)
    await sim.cluster.delete(kinds.Key(kinds.POD, "default", f"{second.name}-x"))
    await sim.advance(30)
    assert sim.status(RUN_KEY)["microBatchSize"] == 2
    assert sim.job(RUN_KEY)["metadata"]["name"] == second.name


async def test_resolved_problem_is_no_longer_reported(sim: Simulation) -> None:
    """Only the conditions of current problems are False."""
    sim.apply(simulation.TRAINRUN)
    with sim.store_unreachable():
        await sim.settle()
        assert sim.status_and_reason(RUN_KEY, "StorageReady")[0] == "False"
    sim.add_model(known_license=False)
    await sim.advance(1300)
    assert sim.status_and_reason(RUN_KEY, "StorageReady")[0] == "Unknown"
    assert sim.status_and_reason(RUN_KEY, "LicenseCleared") == ("False", "LicenseUnknown")
    sim.add_model()
    await sim.advance(1300)
    assert sim.status_and_reason(RUN_KEY, "LicenseCleared")[0] == "Unknown"
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("Unknown", "CorpusNotFound")


def evicted(message: str, *, disruption: bool) -> dict[str, Any]:
    target = [{"type": "DisruptionTarget", "status": "True", "message": message}]
    return {
        "phase": "Failed",
        "reason": "Evicted",
        "message": message,
        "conditions": target if disruption else [],
    }


async def test_waiting_replacement_pod_is_not_running(sim: Simulation) -> None:
    """The newest pod counts, not an ended one nor the order of their random names."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    job = sim.job(CORPUS_KEY)
    sim.set_pod(job, evicted("The node was low on resource: memory.", disruption=True))
    sim.clock.moment += timedelta(seconds=2)
    labels = {
        **job["spec"]["template"]["metadata"]["labels"],
        "batch.kubernetes.io/job-name": job["metadata"]["name"],
    }
    name = f"{job['metadata']['name']}-a"  # sorts before the old pod's
    meta = {"namespace": "default", "name": name, "labels": labels}
    sim.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta})
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    words = "0/1 nodes are available"
    sim.cluster.set_status(
        kinds.Key(kinds.POD, "default", name),
        {"phase": "Pending", "conditions": [{**waits, "message": words}]},
    )
    sim.cluster.set_status(kinds.key_of(job), {"active": 1, "ready": 0})
    await sim.advance(30)
    assert sim.status_and_reason(CORPUS_KEY, "Running") == ("False", "Unschedulable")
    text = sim.condition(CORPUS_KEY, "Succeeded")[2]
    assert text.startswith("0/1 nodes are available. Lower spec.resources, or add a node")


async def test_full_scratch_volume_counts_as_an_attempt(sim: Simulation) -> None:
    """The kubelet evicts without a disruption: it counts, and the message names the field."""
    sim.apply(simulation.CORPUS, retry={"limit": 1})
    await sim.settle()
    message = 'Usage of EmptyDir volume "scratch" exceeds the limit "1Gi". '
    for _ in range(2):
        await sim.start_pod(CORPUS_KEY)
        job = sim.job(CORPUS_KEY)
        sim.set_pod(job, evicted(message, disruption=False))
        await sim.settle()
        failed = {"type": "Failed", "reason": "BackoffLimitExceeded", "status": "True"}
        stamped = {**failed, "lastTransitionTime": sim.timestamp()}
        sim.cluster.set_status(kinds.key_of(job), {"conditions": [stamped]})
        await sim.settle()
        assert sim.condition(CORPUS_KEY, "Running")[1] == "ScratchFull"
        await sim.advance(11)
    status, reason, text = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("False", "RetriesExhausted")
    assert 'limit "1Gi". Raise spec.resources.scratch. That was attempt 2 of 2.' in text


async def test_raised_deadline_applies_to_the_running_attempt(
    sim: Simulation,
) -> None:
    """Killed by the old deadline, the run resumes under the new one."""
    sim.apply(simulation.CORPUS, activeDeadlineSeconds=60)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    sim.apply(simulation.CORPUS, activeDeadlineSeconds=7200)
    await sim.settle()
    job = sim.job(CORPUS_KEY)
    failed = {"type": "Failed", "reason": "DeadlineExceeded", "status": "True"}
    sim.cluster.set_status(
        kinds.key_of(job), {"conditions": [{**failed, "lastTransitionTime": sim.timestamp()}]}
    )
    await sim.cluster.delete(sim.pod_key(job))
    await sim.settle()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "DeadlineExceeded")
    await sim.advance(11)
    assert sim.job(CORPUS_KEY)["spec"]["activeDeadlineSeconds"] == 7200
    sim.apply(simulation.CORPUS, activeDeadlineSeconds=7200)
    await sim.start_pod(CORPUS_KEY)
    job = sim.job(CORPUS_KEY)
    sim.cluster.set_status(
        kinds.key_of(job), {"conditions": [{**failed, "lastTransitionTime": sim.timestamp()}]}
    )
    await sim.settle()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("False", "DeadlineExceeded")


async def test_messages_are_separate_sentences(sim: Simulation) -> None:
    """A program message without a full stop gets one before the next sentence."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    await sim.end_pod(
        CORPUS_KEY, DEFECT, termination("InternalError", "the scratch volume is full")
    )
    text = sim.condition(CORPUS_KEY, "Succeeded")[2]
    assert text.startswith("The scratch volume is full. Attempt 2 starts at ")


async def test_refusal_by_the_api_server_is_reported(sim: Simulation) -> None:
    """The status has its message and a reason; the run resumes once it is accepted."""
    refusing = [True]

    def hook(verb: str, key: kinds.Key) -> None:
        if refusing and verb == "apply" and key.kind == kinds.JOB:
            raise errors.Refused("403: exceeded quota: gpus, requested: 1, used: 8, limited: 8")

    sim.cluster.before_write = hook
    sim.apply(simulation.CORPUS)
    await sim.settle()
    status, reason, text = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("Unknown", "ObjectRefused")
    assert text.startswith(
        "403: exceeded quota: gpus, requested: 1, used: 8, limited: 8. Remove the cause"
    )
    assert [event["reason"] for event in sim.cluster.objects(kinds.EVENT)] == ["ObjectRefused"]
    refusing.clear()
    await sim.advance(120)
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_end_survives_an_operator_that_cannot_read_the_spec(sim: Simulation) -> None:
    """After a downgrade and an upgrade, nothing is written or run again."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()
    raw = next(iter(sim.cluster.objects(kinds.CORPUS)))
    newer = {**raw, "spec": {**raw["spec"], "sources": "a form of the future"}}
    seen = planner.plan(
        newer,
        outcomes.Observed(),
        now=sim.clock.now(),
        installation=simulation.INSTALLATION,
        policy=simulation.POLICY,
    )
    assert seen == outcomes.Outcome()


async def test_pods_of_another_namespace_are_ignored(sim: Simulation) -> None:
    """A label does not prove ownership: every client can set one."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    labels = {
        **sim.job(CORPUS_KEY)["spec"]["template"]["metadata"]["labels"],
        "batch.kubernetes.io/job-name": sim.job(CORPUS_KEY)["metadata"]["name"],
    }
    meta = {"namespace": "elsewhere", "name": "forged", "labels": labels}
    sim.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta})
    await sim.settle()
    assert "forged" not in sim.condition(CORPUS_KEY, "Running")[2]


def test_spec_hashes_do_not_change_when_the_api_grows(sim: Simulation) -> None:
    """A new field with a default is the same spec: an upgrade must not run everything again.

    These keys are frozen: if one changes, every running Job of every user is thrown away.
    """
    uid = {"uid": "11111111-1111-4111-8111-111111111111"}
    made = sim.apply(simulation.CORPUS)
    data = corpus.MensCorpus.model_validate({**made, "metadata": {**made["metadata"], **uid}})
    assert run_kinds.spec_hashes(data)[0] == "dc2e72265a"
    made = sim.apply(simulation.TRAINRUN, schedule={"epochs": 1, "learningRate": "1e-3"})
    run = trainrun.MensTrainRun.model_validate({**made, "metadata": {**made["metadata"], **uid}})
    assert run_kinds.spec_hashes(run)[0] == "9e92c490f6"
    assert run_kinds.spec_hashes(data) == run_kinds.spec_hashes(
        data.model_copy(update={"spec": data.spec.model_copy(update={"suspend": True})})
    )
