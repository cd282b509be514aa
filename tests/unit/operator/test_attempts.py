"""How attempts end, what the status reports then, and when the next one starts."""

from __future__ import annotations

import json

import pytest
import yaml

from mens.artifacts import manifests, refs
from mens_operator.cluster import kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, Simulation


def termination(reason: str, message: str) -> str:
    return json.dumps({"reason": reason, "message": message})


async def corpus_runs(sim: Simulation) -> None:
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)


async def test_invalid_input_is_retried_slowly_without_limit(sim: Simulation) -> None:
    """Exit code 64 is retried after 30 s, 60 s, 120 s … 10 min, and never fails the run."""
    await corpus_runs(sim)
    for number, delay in enumerate([30, 60, 120, 240, 480, 600, 600], start=1):
        text = termination("SourceNotFound", "s3://mens/sources/docs holds nothing. Upload it.")
        await sim.end_pod(CORPUS_KEY, 64, text)
        assert sim.status_and_reason(CORPUS_KEY, "SourcesReady") == ("False", "SourceNotFound")
        assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "SourceNotFound")
        assert "Upload it." in sim.condition(CORPUS_KEY, "Succeeded")[2]
        before = len(sim.jobs(CORPUS_KEY))
        await sim.advance(delay - 1)
        assert sim.job(CORPUS_KEY)["metadata"]["name"].endswith(f"-{number}")
        await sim.advance(1)
        assert sim.job(CORPUS_KEY)["metadata"]["name"].endswith(f"-{number + 1}")
        assert len(sim.jobs(CORPUS_KEY)) <= max(before, 2)
        await sim.start_pod(CORPUS_KEY)
    assert sim.status(CORPUS_KEY)["attempts"] == 0


async def test_run_recovers_once_the_cause_is_resolved(sim: Simulation) -> None:
    """The next attempt succeeds, and the conditions no longer show the problem."""
    await corpus_runs(sim)
    await sim.end_pod(CORPUS_KEY, 64, termination("SourceNotFound", "Nothing there."))
    await sim.advance(31)
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    assert sim.status_and_reason(CORPUS_KEY, "SourcesReady") == ("True", "SourcesReady")
    assert "nextAttemptTime" not in sim.status(CORPUS_KEY)


async def test_waiting_attempt_does_not_hide_the_previous_failure(sim: Simulation) -> None:
    """The message shows both why the pod waits and why the previous attempt failed."""
    await corpus_runs(sim)
    await sim.end_pod(
        CORPUS_KEY, 64, termination("SourceNotFound", "s3://mens/docs holds nothing.")
    )
    await sim.advance(31)
    job = sim.job(CORPUS_KEY)
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    sim.set_pod(job, {"phase": "Pending", "conditions": [{**waits, "message": "no cpu"}]})
    await sim.advance(10)
    status, reason, message = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("Unknown", "Unschedulable")
    assert "Attempt 1 failed with SourceNotFound: s3://mens/docs holds nothing." in message
    assert sim.status_and_reason(CORPUS_KEY, "SourcesReady") == ("False", "SourceNotFound")
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "SourcesReady") == ("True", "SourcesReady")


async def test_changed_spec_starts_a_new_run_at_once(sim: Simulation) -> None:
    """A corrected spec does not wait for the backoff, and its attempts count from 1."""
    await corpus_runs(sim)
    await sim.end_pod(CORPUS_KEY, 64, termination("SourceNotFound", "Nothing there."))
    old = sim.job(CORPUS_KEY)["metadata"]["name"]
    sources = [{"name": "d", "s3": {"uri": "s3://mens/right"}, "extract": ["MarkdownSections"]}]
    sim.apply(simulation.CORPUS, sources=sources)
    await sim.settle()
    assert sim.job(CORPUS_KEY)["metadata"]["name"] != old
    assert sim.names(kinds.JOB) == [sim.job(CORPUS_KEY)["metadata"]["name"]]
    await sim.start_pod(CORPUS_KEY)
    assert sim.status(CORPUS_KEY)["jobName"].endswith("-1")


async def test_any_spec_change_ends_the_backoff(sim: Simulation) -> None:
    """Even a field that changes no output starts the next attempt now."""
    await corpus_runs(sim)
    await sim.end_pod(CORPUS_KEY, 64, termination("SourceNotFound", "Nothing there."))
    sim.apply(simulation.CORPUS, retry={"limit": 4})
    await sim.settle()
    assert sim.job(CORPUS_KEY)["metadata"]["name"].endswith("-2")


async def test_adapter_that_is_worse_than_its_base_gets_a_warning(sim: Simulation) -> None:
    """It is published, and the message of Succeeded contains the warning."""
    await sim.start_run()
    await sim.train(loss={"before": 3.5, "after": 21.9})
    status, _, message = sim.condition(RUN_KEY, "Succeeded")
    assert status == "True"
    assert "held-out loss rose from 3.5 to 21.9" in message
    assert "learningRate" in message


async def test_permanent_failure_is_not_retried(sim: Simulation) -> None:
    """A run that diverged fails at once, and starts again when its spec changes."""
    await sim.start_run()
    await sim.start_pod(RUN_KEY)
    text = termination(
        "Diverged", "The loss of step 7 is not a number. Lower schedule.learningRate."
    )
    await sim.end_pod(RUN_KEY, 70, text)
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("False", "Diverged")
    assert "learningRate" in sim.condition(RUN_KEY, "Succeeded")[2]
    before = sim.job(RUN_KEY)["metadata"]["name"]
    await sim.advance(3600)
    assert sim.job(RUN_KEY)["metadata"]["name"] == before
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("False", "Diverged")
    sim.apply(simulation.TRAINRUN, schedule={"learningRate": "1e-5"})
    await sim.settle()
    assert sim.job(RUN_KEY)["metadata"]["name"] != before


async def test_new_corpus_ends_the_backoff(sim: Simulation) -> None:
    """A run that waits for its next attempt starts with the new data once they are published."""
    await sim.start_run()
    await sim.start_pod(RUN_KEY)
    await sim.end_pod(
        RUN_KEY, 64, termination("CorpusInvalid", "Token ids outside the vocabulary.")
    )
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("False", "CorpusInvalid")
    first = sim.mens_job(RUN_KEY)["corpus"]["digest"]
    sim.apply(simulation.CORPUS, split={"seed": 18})
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    details = {"fingerprint": "sha256:2", "rows": {"train": 9, "validation": 1}}
    output = sim.mens_job(CORPUS_KEY)["output"]
    sim.publish(output, manifests.Kind.CORPUS, details=details)
    await sim.end_pod(CORPUS_KEY, 0)
    assert sim.mens_job(RUN_KEY)["corpus"]["digest"] != first
    assert sim.job(RUN_KEY)["metadata"]["name"].endswith("-1")


async def test_storage_failure_is_retried_soon(sim: Simulation) -> None:
    """Exit code 75 is retried after 5 s and does not count."""
    await corpus_runs(sim)
    await sim.end_pod(
        CORPUS_KEY, 75, termination("StorageDenied", "Access denied: check the Secret.")
    )
    assert sim.status_and_reason(CORPUS_KEY, "StorageReady") == ("False", "StorageDenied")
    await sim.advance(6)
    assert sim.job(CORPUS_KEY)["metadata"]["name"].endswith("-2")
    await sim.start_pod(CORPUS_KEY)
    assert sim.status_and_reason(CORPUS_KEY, "StorageReady") == ("True", "StorageReady")


@pytest.mark.parametrize(("code", "reason"), [(137, "OOMKilled"), (71, "Error"), (1, "OOMKilled")])
async def test_out_of_memory_halves_the_micro_batch(
    sim: Simulation, code: int, reason: str
) -> None:
    """4, 2, 1 with the same effective batch; then it counts against the limit and fails."""
    sim.add_model()
    sim.apply(simulation.CORPUS)
    sim.apply(simulation.TRAINRUN, retry={"limit": 1})
    await sim.settle()
    await sim.build_corpus()
    sizes = []
    for _ in range(10):
        await sim.start_pod(RUN_KEY)
        sizes.append(sim.mens_job(RUN_KEY)["spec"]["schedule"]["microBatchSize"])
        assert sim.mens_job(RUN_KEY)["spec"]["schedule"]["effectiveBatchSize"] == 16
        await sim.end_pod(RUN_KEY, code, "", reason)
        if sim.status_and_reason(RUN_KEY, "Succeeded")[0] == "False":
            break
        await sim.advance(301)
    assert sizes == [4, 2, 1, 1]
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("False", "OutOfMemory")
    assert "spec.resources.memory" in sim.condition(RUN_KEY, "Succeeded")[2]
    assert sim.status(RUN_KEY)["microBatchSize"] == 1


async def test_internal_error_is_retried_up_to_the_limit(sim: Simulation) -> None:
    """Exit code 70 or an unknown one: limit 3 means four attempts; the end is latched."""
    await corpus_runs(sim)
    for number in range(4):
        assert sim.status_and_reason(CORPUS_KEY, "Succeeded")[0] == "Unknown"
        await sim.end_pod(
            CORPUS_KEY, 70 if number % 2 else 139, termination("InternalError", "Oops.")
        )
        await sim.advance(301)
        if number < 3:
            await sim.start_pod(CORPUS_KEY)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("False", "RetriesExhausted")
    assert sim.status(CORPUS_KEY)["attempts"] == 4
    job = sim.job(CORPUS_KEY)["metadata"]["name"]
    sim.cluster.remove(kinds.Key(kinds.JOB, "default", job))  # its TTL
    sim.cluster.writes.clear()
    await sim.advance(700)
    assert not sim.writes()
    sim.apply(simulation.CORPUS, retry={"limit": 5})
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    assert sim.status(CORPUS_KEY)["attempts"] == 0


async def test_preemption_does_not_count(sim: Simulation) -> None:
    """Exit code 143, a disruption and a deleted pod are retried without limit."""
    await corpus_runs(sim)
    for _ in range(6):
        await sim.end_pod(CORPUS_KEY, 143)
        await sim.advance(121)
        await sim.start_pod(CORPUS_KEY)
    job = sim.job(CORPUS_KEY)
    sim.cluster.remove(sim.pod_key(job))
    stamp = {"status": "True", "lastTransitionTime": sim.timestamp()}
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded", **stamp}
    sim.cluster.set_status(kinds.key_of(job), {"conditions": [failed]})
    await sim.settle()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded")[1] == "Running", (
        "the verdict waits for the pod"
    )
    await sim.advance(6)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "Preempted")
    assert sim.status(CORPUS_KEY)["attempts"] == 0


async def test_exceeded_deadline_is_final(sim: Simulation) -> None:
    """activeDeadlineSeconds: another attempt would take as long."""
    sim.apply(simulation.CORPUS, activeDeadlineSeconds=60)
    await sim.settle()
    assert sim.job(CORPUS_KEY)["spec"]["activeDeadlineSeconds"] == 60
    await sim.start_pod(CORPUS_KEY)
    stamp = {"status": "True", "lastTransitionTime": sim.timestamp()}
    failed = {"type": "Failed", "reason": "DeadlineExceeded", **stamp}
    sim.cluster.set_status(kinds.key_of(sim.job(CORPUS_KEY)), {"conditions": [failed]})
    await sim.settle()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("False", "DeadlineExceeded")


async def test_success_requires_a_verified_artifact(sim: Simulation) -> None:
    """Exit code 0 without a manifest is an internal error; so is another digest than reported."""
    await corpus_runs(sim)
    await sim.end_pod(CORPUS_KEY, 0)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "OutputMissing")
    assert sim.status(CORPUS_KEY)["attempts"] == 1
    await sim.advance(11)
    await sim.start_pod(CORPUS_KEY)
    output = sim.mens_job(CORPUS_KEY)["output"]
    sim.publish(output, manifests.Kind.CORPUS)
    artifact = {"uri": output, "digest": "sha256:" + "0" * 64}
    text = json.dumps({"reason": "Succeeded", "message": "", "artifact": artifact})
    await sim.end_pod(CORPUS_KEY, 0, text)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "DigestMismatch")
    assert "artifact" not in sim.status(CORPUS_KEY)


async def test_unreachable_store_delays_only_the_verification(sim: Simulation) -> None:
    """The Job is complete; its output is verified once the store responds again."""
    await corpus_runs(sim)
    work = sim.mens_job(CORPUS_KEY)
    details = {"fingerprint": "sha256:1", "rows": {"train": 1, "validation": 1}}
    sim.publish(work["output"], manifests.Kind.CORPUS, details=details)
    with sim.store_unreachable():
        await sim.end_pod(CORPUS_KEY, 0)
        assert sim.status_and_reason(CORPUS_KEY, "StorageReady") == ("False", "StorageUnreachable")
        assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "Verifying")
        await sim.advance(20)
    await sim.advance(30)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_suspended_run_resumes_with_the_same_attempt(sim: Simulation) -> None:
    """A suspended run has no Job; after that it resumes from its checkpoint."""
    await corpus_runs(sim)
    name = sim.job(CORPUS_KEY)["metadata"]["name"]
    sim.apply(simulation.CORPUS, suspend=True)
    await sim.settle()
    assert not sim.jobs(CORPUS_KEY)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "Suspended")
    sim.cluster.writes.clear()
    await sim.advance(20)
    assert not sim.writes()
    sim.apply(simulation.CORPUS, suspend=False)
    await sim.settle()
    assert sim.job(CORPUS_KEY)["metadata"]["name"] == name
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_two_pods_never_share_an_output_folder(sim: Simulation) -> None:
    """The next attempt waits until the last pod of the previous one has ended."""
    await corpus_runs(sim)
    old = sim.pod_key(sim.job(CORPUS_KEY))
    stray = sim.cluster.objects(kinds.POD)[0]
    stray["metadata"].pop("ownerReferences")
    for name in ("uid", "resourceVersion", "creationTimestamp"):
        stray["metadata"].pop(name)
    sim.apply(simulation.CORPUS, suspend=True)
    await sim.settle()
    stray["metadata"]["deletionTimestamp"] = sim.timestamp()
    sim.cluster.put(stray)  # it still saves its checkpoint
    sim.apply(simulation.CORPUS, suspend=False)
    await sim.advance(10)
    assert not sim.jobs(CORPUS_KEY)
    sim.cluster.remove(old)
    await sim.advance(3)
    assert len(sim.jobs(CORPUS_KEY)) == 1


async def test_finished_run_is_deleted_after_its_ttl(sim: Simulation) -> None:
    """The resource and its Job are deleted; the artifact stays."""
    sim.apply(simulation.CORPUS, ttlSecondsAfterFinished=60)
    await sim.settle()
    await sim.build_corpus()
    output = sim.status(CORPUS_KEY)["artifact"]["uri"]
    await sim.advance(59)
    assert sim.names(kinds.CORPUS) == ["docs"]
    await sim.advance(3)
    assert sim.names(kinds.CORPUS) == sim.names(kinds.JOB) == []
    folder = refs.Uri.parse(output)
    assert sim.store.head(folder / "manifest.json") is not None


async def test_pause_annotation_stops_reconciliation(sim: Simulation) -> None:
    """`reconcile: disabled` stops all changes until it is removed."""
    obj = yaml.safe_load(simulation.CORPUS)
    obj["metadata"]["annotations"] = {"mens.vox-lang.org/reconcile": "disabled"}
    sim.cluster.put(obj)
    await sim.settle()
    assert not sim.jobs(CORPUS_KEY)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "ReconcileDisabled")
    obj["metadata"]["annotations"] = {}
    sim.cluster.put(obj)
    await sim.settle()
    assert len(sim.jobs(CORPUS_KEY)) == 1


async def test_progress_is_mirrored_at_intervals(sim: Simulation) -> None:
    """Progress is read from the store and written at most every 15 seconds."""
    await sim.start_run()
    await sim.start_pod(RUN_KEY)
    output = refs.Uri.parse(sim.mens_job(RUN_KEY)["output"])
    sim.cluster.writes.clear()
    for step in range(60):
        progress = {"stage": "Train", "step": step, "totalSteps": 60, "attempt": 1}
        sim.store.put_bytes(output / "progress.json", json.dumps(progress).encode())
        await sim.advance(1)
    assert 3 <= len(sim.writes("apply_status")) <= 5
    assert sim.status(RUN_KEY)["progress"]["totalSteps"] == 60
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("True", "PreflightPassed")
    last = {"stage": "Done", "step": 60, "totalSteps": 60}
    sim.store.put_bytes(output / "progress.json", json.dumps(last).encode())
    await sim.train()
    assert sim.status(RUN_KEY)["progress"]["step"] == 60, "the last word is read after the end"
