"""How attempts end, what the status says then, and when the next one begins."""

from __future__ import annotations

import json

import pytest

from mens_operator.cluster import kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, Simulation


def said(reason: str, message: str) -> str:
    return json.dumps({"reason": reason, "message": message})


async def corpus_runs(sim: Simulation) -> None:
    sim.user(simulation.CORPUS)
    await sim.settle()
    await sim.run_pod(CORPUS_KEY)


async def test_a_wrong_input_is_said_and_tried_again_slowly_for_ever(sim: Simulation) -> None:
    """Exit code 64: 30 s, 60 s, 120 s … 10 min, and never the end."""
    await corpus_runs(sim)
    pauses = []
    for number in range(1, 8):
        text = said("SourceNotFound", "s3://mens/sources/docs holds nothing. Upload it.")
        await sim.end(CORPUS_KEY, 64, text)
        assert sim.said(CORPUS_KEY, "SourcesReady") == ("False", "SourceNotFound")
        assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "SourceNotFound")
        assert "Upload it." in sim.condition(CORPUS_KEY, "Succeeded")[2]
        begun, before = sim.clock.seconds(), len(sim.jobs(CORPUS_KEY))
        while sim.job(CORPUS_KEY)["metadata"]["name"].endswith(f"-{number}"):
            await sim.advance(1)
        pauses.append(sim.clock.seconds() - begun)
        assert len(sim.jobs(CORPUS_KEY)) <= max(before, 2)
        await sim.run_pod(CORPUS_KEY)
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    assert sim.status(CORPUS_KEY)["attempts"] == 0


async def test_it_recovers_by_itself_once_the_cause_is_gone(sim: Simulation) -> None:
    """The next attempt succeeds, and no trace of the trouble is left in the conditions."""
    await corpus_runs(sim)
    await sim.end(CORPUS_KEY, 64, said("SourceNotFound", "Nothing there."))
    await sim.advance(31)
    await sim.build_corpus()
    assert sim.said(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    assert sim.said(CORPUS_KEY, "SourcesReady") == ("True", "SourcesReady")
    assert "nextAttemptTime" not in sim.status(CORPUS_KEY)


async def test_a_next_attempt_that_waits_does_not_hide_the_cause(sim: Simulation) -> None:
    """Who reads that there is no room must also read what went wrong before."""
    await corpus_runs(sim)
    await sim.end(CORPUS_KEY, 64, said("SourceNotFound", "s3://mens/docs holds nothing."))
    await sim.advance(31)
    job = sim.job(CORPUS_KEY)
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    sim.make_pod(job, {"phase": "Pending", "conditions": [{**waits, "message": "no cpu"}]})
    await sim.advance(10)
    status, reason, message = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("Unknown", "Unschedulable")
    assert "Attempt 1 failed with SourceNotFound: s3://mens/docs holds nothing." in message
    assert sim.said(CORPUS_KEY, "SourcesReady") == ("False", "SourceNotFound")
    await sim.build_corpus()
    assert sim.said(CORPUS_KEY, "SourcesReady") == ("True", "SourcesReady")


async def test_a_changed_spec_is_tried_at_once(sim: Simulation) -> None:
    """Who corrects the spec does not wait for the back-off, nor for another attempt number."""
    await corpus_runs(sim)
    await sim.end(CORPUS_KEY, 64, said("SourceNotFound", "Nothing there."))
    old = sim.job(CORPUS_KEY)["metadata"]["name"]
    sources = [{"name": "d", "s3": {"uri": "s3://mens/right"}, "extract": ["MarkdownSections"]}]
    sim.user(simulation.CORPUS, sources=sources)
    await sim.settle()
    assert sim.job(CORPUS_KEY)["metadata"]["name"] != old
    assert sim.names_of(kinds.JOB) == [sim.job(CORPUS_KEY)["metadata"]["name"]]
    await sim.run_pod(CORPUS_KEY)
    assert sim.status(CORPUS_KEY)["jobName"].endswith("-1")


async def test_any_touch_of_the_spec_ends_the_pause(sim: Simulation) -> None:
    """Even a field that changes no output says: try now."""
    await corpus_runs(sim)
    await sim.end(CORPUS_KEY, 64, said("SourceNotFound", "Nothing there."))
    sim.user(simulation.CORPUS, retry={"limit": 4})
    await sim.settle()
    assert sim.job(CORPUS_KEY)["metadata"]["name"].endswith("-2")


async def test_an_adapter_that_is_worse_than_its_base_says_so(sim: Simulation) -> None:
    """It is published as it is; nobody should serve it without having read that."""
    await sim.begin_run()
    await sim.train(loss={"before": 3.5, "after": 21.9})
    status, _, message = sim.condition(RUN_KEY, "Succeeded")
    assert status == "True"
    assert "held-out loss rose from 3.5 to 21.9" in message
    assert "learningRate" in message


async def test_what_would_end_so_again_is_not_tried_again(sim: Simulation) -> None:
    """A run that diverged ends at once, and begins anew when its spec is changed."""
    await sim.begin_run()
    await sim.run_pod(RUN_KEY)
    text = said("Diverged", "The loss of step 7 is not a number. Lower schedule.learningRate.")
    await sim.end(RUN_KEY, 70, text)
    assert sim.said(RUN_KEY, "Succeeded") == ("False", "Diverged")
    assert "learningRate" in sim.condition(RUN_KEY, "Succeeded")[2]
    before = sim.job(RUN_KEY)["metadata"]["name"]
    await sim.advance(3600)
    assert sim.job(RUN_KEY)["metadata"]["name"] == before
    assert sim.said(RUN_KEY, "Succeeded") == ("False", "Diverged")
    sim.user(simulation.TRAINRUN, schedule={"learningRate": "1e-5"})
    await sim.settle()
    assert sim.job(RUN_KEY)["metadata"]["name"] != before


async def test_a_new_corpus_is_tried_at_once(sim: Simulation) -> None:
    """A run that waits for its next attempt starts with the new data as soon as they are there."""
    await sim.begin_run()
    await sim.run_pod(RUN_KEY)
    await sim.end(RUN_KEY, 64, said("CorpusInvalid", "Token ids outside the vocabulary."))
    assert sim.said(RUN_KEY, "Validated") == ("False", "CorpusInvalid")
    first = sim.work(RUN_KEY)["corpus"]["digest"]
    sim.user(simulation.CORPUS, split={"seed": 18})
    await sim.settle()
    await sim.run_pod(CORPUS_KEY)
    details = {"fingerprint": "sha256:2", "rows": {"train": 9, "validation": 1}}
    output = sim.work(CORPUS_KEY)["output"]
    sim.publish(output, simulation.manifests.Kind.CORPUS, details=details)
    await sim.end(CORPUS_KEY, 0)
    assert sim.work(RUN_KEY)["corpus"]["digest"] != first
    assert sim.job(RUN_KEY)["metadata"]["name"].endswith("-1")


async def test_storage_trouble_is_tried_again_soon(sim: Simulation) -> None:
    """Exit code 75: 5 s, and it does not count."""
    await corpus_runs(sim)
    await sim.end(CORPUS_KEY, 75, said("StorageDenied", "Access denied: check the Secret."))
    assert sim.said(CORPUS_KEY, "StorageReady") == ("False", "StorageDenied")
    await sim.advance(6)
    assert sim.job(CORPUS_KEY)["metadata"]["name"].endswith("-2")
    await sim.run_pod(CORPUS_KEY)
    assert sim.said(CORPUS_KEY, "StorageReady") == ("True", "StorageReady")


@pytest.mark.parametrize(("code", "reason"), [(137, "OOMKilled"), (71, "Error"), (1, "OOMKilled")])
async def test_out_of_memory_halves_the_micro_batch(
    sim: Simulation, code: int, reason: str
) -> None:
    """4, 2, 1; the effective batch stays. With nothing left to halve it counts, then ends."""
    sim.add_model()
    sim.user(simulation.CORPUS)
    sim.user(simulation.TRAINRUN, retry={"limit": 1})
    await sim.settle()
    await sim.build_corpus()
    sizes = []
    for _ in range(10):
        await sim.run_pod(RUN_KEY)
        sizes.append(sim.work(RUN_KEY)["spec"]["schedule"]["microBatchSize"])
        assert sim.work(RUN_KEY)["spec"]["schedule"]["effectiveBatchSize"] == 16
        await sim.end(RUN_KEY, code, "", reason)
        if sim.said(RUN_KEY, "Succeeded")[0] == "False":
            break
        await sim.advance(301)
    assert sizes == [4, 2, 1, 1]
    assert sim.said(RUN_KEY, "Succeeded") == ("False", "OutOfMemory")
    assert "spec.resources.memory" in sim.condition(RUN_KEY, "Succeeded")[2]
    assert sim.status(RUN_KEY)["microBatchSize"] == 1


async def test_a_defect_is_tried_as_often_as_the_limit_says_then_never(sim: Simulation) -> None:
    """Exit code 70 or any unknown one: limit 3 means four attempts; the end is latched."""
    await corpus_runs(sim)
    for number in range(4):
        assert sim.said(CORPUS_KEY, "Succeeded")[0] == "Unknown"
        await sim.end(CORPUS_KEY, 70 if number % 2 else 139, said("InternalError", "Oops."))
        await sim.advance(301)
        if number < 3:
            await sim.run_pod(CORPUS_KEY)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("False", "RetriesExhausted")
    assert sim.status(CORPUS_KEY)["attempts"] == 4
    job = sim.job(CORPUS_KEY)["metadata"]["name"]
    sim.cluster.remove(kinds.Key(kinds.JOB, "default", job))  # its TTL
    sim.cluster.writes.clear()
    await sim.advance(700)
    assert not sim.writes()
    sim.user(simulation.CORPUS, retry={"limit": 5})
    await sim.settle()
    await sim.run_pod(CORPUS_KEY)
    assert sim.status(CORPUS_KEY)["attempts"] == 0


async def test_eviction_does_not_count(sim: Simulation) -> None:
    """Exit 143, a disruption, and a pod that somebody deleted: all go on without end."""
    await corpus_runs(sim)
    for _ in range(6):
        await sim.end(CORPUS_KEY, 143)
        await sim.advance(121)
        await sim.run_pod(CORPUS_KEY)
    job = sim.job(CORPUS_KEY)
    sim.cluster.remove(sim.pod_of(job))
    stamp = {"status": "True", "lastTransitionTime": sim.stamp()}
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded", **stamp}
    sim.cluster.set_status(kinds.key_of(job), {"conditions": [failed]})
    await sim.settle()
    assert sim.said(CORPUS_KEY, "Succeeded")[1] == "Running", "the verdict waits for the pod"
    await sim.advance(6)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "Preempted")
    assert sim.status(CORPUS_KEY)["attempts"] == 0


async def test_a_deadline_is_the_end(sim: Simulation) -> None:
    """activeDeadlineSeconds: tried again it would take as long."""
    sim.user(simulation.CORPUS, activeDeadlineSeconds=60)
    await sim.settle()
    assert sim.job(CORPUS_KEY)["spec"]["activeDeadlineSeconds"] == 60
    await sim.run_pod(CORPUS_KEY)
    stamp = {"status": "True", "lastTransitionTime": sim.stamp()}
    failed = {"type": "Failed", "reason": "DeadlineExceeded", **stamp}
    sim.cluster.set_status(kinds.key_of(sim.job(CORPUS_KEY)), {"conditions": [failed]})
    await sim.settle()
    assert sim.said(CORPUS_KEY, "Succeeded") == ("False", "DeadlineExceeded")


async def test_success_is_what_the_store_holds(sim: Simulation) -> None:
    """Exit code 0 without a manifest is a defect; so is a digest that was not announced."""
    await corpus_runs(sim)
    await sim.end(CORPUS_KEY, 0)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "OutputMissing")
    assert sim.status(CORPUS_KEY)["attempts"] == 1
    await sim.advance(11)
    await sim.run_pod(CORPUS_KEY)
    output = sim.work(CORPUS_KEY)["output"]
    sim.publish(output, simulation.manifests.Kind.CORPUS)
    artifact = {"uri": output, "digest": "sha256:" + "0" * 64}
    text = json.dumps({"reason": "Succeeded", "message": "", "artifact": artifact})
    await sim.end(CORPUS_KEY, 0, text)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "DigestMismatch")
    assert "artifact" not in sim.status(CORPUS_KEY)


async def test_an_unreachable_store_delays_the_verdict_only(sim: Simulation) -> None:
    """The Job is done; its output is verified as soon as the store answers again."""
    await corpus_runs(sim)
    work = sim.work(CORPUS_KEY)
    details = {"fingerprint": "sha256:1", "rows": {"train": 1, "validation": 1}}
    sim.publish(work["output"], simulation.manifests.Kind.CORPUS, details=details)
    with sim.store_down():
        await sim.end(CORPUS_KEY, 0)
        assert sim.said(CORPUS_KEY, "StorageReady") == ("False", "StorageUnreachable")
        assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "Verifying")
        await sim.advance(20)
    await sim.advance(30)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_suspend_stops_and_goes_on_with_the_same_attempt(sim: Simulation) -> None:
    """A suspended run has no Job; it goes on from its checkpoint when it is resumed."""
    await corpus_runs(sim)
    name = sim.job(CORPUS_KEY)["metadata"]["name"]
    sim.user(simulation.CORPUS, suspend=True)
    await sim.settle()
    assert not sim.jobs(CORPUS_KEY)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "Suspended")
    sim.cluster.writes.clear()
    await sim.advance(20)
    assert not sim.writes()
    sim.user(simulation.CORPUS, suspend=False)
    await sim.settle()
    assert sim.job(CORPUS_KEY)["metadata"]["name"] == name
    await sim.build_corpus()
    assert sim.said(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_two_pods_never_share_an_output_folder(sim: Simulation) -> None:
    """The next attempt waits until the last pod of the one before is gone."""
    await corpus_runs(sim)
    old = sim.pod_of(sim.job(CORPUS_KEY))
    stray = sim.cluster.objects(kinds.POD)[0]
    stray["metadata"].pop("ownerReferences")
    for name in ("uid", "resourceVersion", "creationTimestamp"):
        stray["metadata"].pop(name)
    sim.user(simulation.CORPUS, suspend=True)
    await sim.settle()
    stray["metadata"]["deletionTimestamp"] = sim.stamp()
    sim.cluster.put(stray)  # it still saves its checkpoint
    sim.user(simulation.CORPUS, suspend=False)
    await sim.advance(10)
    assert not sim.jobs(CORPUS_KEY)
    sim.cluster.remove(old)
    await sim.advance(3)
    assert len(sim.jobs(CORPUS_KEY)) == 1


async def test_a_finished_run_is_deleted_when_its_time_has_come(sim: Simulation) -> None:
    """TTL of the resource; the artifact stays."""
    sim.user(simulation.CORPUS, ttlSecondsAfterFinished=60)
    await sim.settle()
    await sim.build_corpus()
    output = sim.status(CORPUS_KEY)["artifact"]["uri"]
    await sim.advance(59)
    assert sim.names_of(kinds.CORPUS) == ["docs"]
    await sim.advance(3)
    assert sim.names_of(kinds.CORPUS) == sim.names_of(kinds.JOB) == []
    folder = simulation.refs.Uri.parse(output)
    assert sim.store.head(folder / "manifest.json") is not None


async def test_the_pause_annotation_stops_everything(sim: Simulation) -> None:
    """reconcile: disabled; and goes on when it is removed."""
    obj = simulation.yaml.safe_load(simulation.CORPUS)
    obj["metadata"]["annotations"] = {"mens.vox-lang.org/reconcile": "disabled"}
    sim.cluster.put(obj)
    await sim.settle()
    assert not sim.jobs(CORPUS_KEY)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "ReconcileDisabled")
    obj["metadata"]["annotations"] = {}
    sim.cluster.put(obj)
    await sim.settle()
    assert len(sim.jobs(CORPUS_KEY)) == 1


async def test_progress_is_mirrored_now_and_then(sim: Simulation) -> None:
    """Progress is read from the store and written at most every fifteen seconds."""
    await sim.begin_run()
    await sim.run_pod(RUN_KEY)
    output = simulation.refs.Uri.parse(sim.work(RUN_KEY)["output"])
    sim.cluster.writes.clear()
    for step in range(60):
        progress = {"stage": "Train", "step": step, "totalSteps": 60, "attempt": 1}
        sim.store.put_bytes(output / "progress.json", json.dumps(progress).encode())
        await sim.advance(1)
    assert 3 <= len(sim.writes("apply_status")) <= 5
    assert sim.status(RUN_KEY)["progress"]["totalSteps"] == 60
    assert sim.said(RUN_KEY, "Validated") == ("True", "PreflightPassed")
    last = {"stage": "Done", "step": 60, "totalSteps": 60}
    sim.store.put_bytes(output / "progress.json", json.dumps(last).encode())
    await sim.train()
    assert sim.status(RUN_KEY)["progress"]["step"] == 60, "the last word is read after the end"
