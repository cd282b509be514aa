"""Bad input: a condition has reason and next step, and the resource recovers."""

from __future__ import annotations

from typing import Any

import pytest

from mens.artifacts import manifests, refs
from mens_operator.cluster import kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, SERVE_KEY, Simulation


async def with_corpus(sim: Simulation) -> None:
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()


async def test_run_without_corpus_and_base_reports_both(sim: Simulation) -> None:
    """No Job is created, and each condition has its own cause."""
    sim.add_model(known_license=False)
    sim.apply(simulation.TRAINRUN)
    await sim.settle()
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("False", "CorpusNotFound")
    assert sim.status_and_reason(RUN_KEY, "LicenseCleared") == ("False", "LicenseUnknown")
    assert "mens model import" in sim.condition(RUN_KEY, "LicenseCleared")[2]
    assert "jobName" not in sim.status(RUN_KEY)
    assert not sim.jobs(RUN_KEY)


async def test_missing_base_model_is_found_once_it_is_imported(sim: Simulation) -> None:
    """BaseModelNotFound names the command; the run starts without further action."""
    await with_corpus(sim)
    sim.apply(simulation.TRAINRUN)
    await sim.settle()
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("False", "BaseModelNotFound")
    assert "mens model import" in sim.condition(RUN_KEY, "Validated")[2]
    sim.add_model()
    await sim.advance(35)
    assert len(sim.jobs(RUN_KEY)) == 1


async def test_missing_manifest_and_pickle_have_different_reasons(sim: Simulation) -> None:
    """An uploaded folder needs an import; a pickle is refused by its name."""
    await with_corpus(sim)
    folder = refs.Uri.parse("s3://mens/models/tiny/1")
    sim.store.put_bytes(folder / "config.json", b"{}")
    sim.apply(simulation.TRAINRUN)
    await sim.settle()
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("False", "BaseModelNotImported")
    sim.store.put_bytes(folder / "pytorch_model.bin", b"\x80")
    await sim.advance(35)
    assert sim.status_and_reason(RUN_KEY, "Validated") == ("False", "PickleRefused")
    assert "pytorch_model.bin" in sim.condition(RUN_KEY, "Validated")[2]


async def test_unreachable_store_blocks_until_it_responds(sim: Simulation) -> None:
    """StorageReady reports the error on all three kinds; nothing starts meanwhile."""
    sim.add_model()
    with sim.store_unreachable():
        sim.apply(simulation.CORPUS)
        sim.apply(simulation.TRAINRUN)
        sim.apply(simulation.SERVE)
        await sim.advance(10)
        for key in (CORPUS_KEY, RUN_KEY, SERVE_KEY):
            assert sim.status_and_reason(key, "StorageReady") == ("False", "StorageUnreachable"), (
                key
            )
        assert not sim.names(kinds.JOB)
    await sim.advance(30)
    await sim.build_corpus()
    await sim.advance(60)
    await sim.train()
    assert sim.status_and_reason(RUN_KEY, "StorageReady") == ("True", "StorageReady")


async def test_missing_bucket_is_reported(sim: Simulation) -> None:
    """The bucket of the installation does not exist yet."""
    sim.store = type(sim.store)([])
    sim.restart()
    sim.apply(simulation.CORPUS)
    await sim.settle()
    assert sim.status_and_reason(CORPUS_KEY, "StorageReady") == ("False", "BucketNotFound")
    sim.store.create_bucket("mens")
    await sim.advance(10)
    assert len(sim.jobs(CORPUS_KEY)) == 1


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                    }
                ]
            },
            "Unschedulable",
            "Insufficient nvidia.com/gpu",
        ),
        (
            {
                "containerStatuses": [
                    {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}
                ]
            },
            "ImagePullFailed",
            "ImagePullBackOff: Back-off",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "state": {
                            "waiting": {
                                "reason": "CreateContainerConfigError",
                                "message": 'secret "mens-s3" not found',
                            }
                        }
                    }
                ]
            },
            "PodNotStarted",
            'secret "mens-s3" not found',
        ),
    ],
)
async def test_reason_of_a_pod_that_cannot_start_is_mirrored(
    sim: Simulation, pod: dict[str, Any], reason: str, words: str
) -> None:
    """The words of scheduler and kubelet, and a next step, after a short grace."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    job = sim.job(CORPUS_KEY)
    sim.cluster.set_status(kinds.key_of(job), {"active": 1, "startTime": sim.timestamp()})
    sim.set_pod(job, {"phase": "Pending", **pod})
    await sim.settle()
    assert not sim.status(CORPUS_KEY)
    await sim.advance(4)
    assert sim.status_and_reason(CORPUS_KEY, "Running") == ("False", reason)
    message = sim.condition(CORPUS_KEY, "Running")[2]
    assert words in message
    assert len(message) > len(words) + 20
    await sim.start_pod(CORPUS_KEY)
    assert sim.status_and_reason(CORPUS_KEY, "Running") == ("True", "Running")


async def serving(sim: Simulation) -> None:
    sim.add_model()
    await with_corpus(sim)
    sim.apply(simulation.TRAINRUN)
    await sim.settle()
    await sim.train()
    sim.apply(simulation.SERVE)
    await sim.settle()
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "observedGeneration": 1}
    sim.cluster.set_status(kinds.Key(kinds.DEPLOYMENT, "default", "chat"), counts)
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")


async def test_adapter_of_another_base_does_not_change_the_deployment(sim: Simulation) -> None:
    """BaseMismatch by digest: the Deployment keeps serving without an optional adapter."""
    await serving(sim)
    before = sim.cluster.objects(kinds.DEPLOYMENT)
    other = "s3://mens/runs/other/1"
    made_of = manifests.Input(
        role=manifests.Role.BASE,
        name="other",
        uri="s3://mens/models/other",
        digest="sha256:" + "1" * 64,
        license_expression="MIT",
    )
    digest = sim.publish(other, manifests.Kind.ADAPTER, inputs=(made_of,))
    good = {"name": "tuned", "trainRunRef": {"name": "tune"}}
    alien = {"name": "alien", "artifact": {"uri": other, "digest": str(digest)}}
    sim.apply(simulation.SERVE, adapters=[good, alien])
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "AdaptersReady") == ("False", "BaseMismatch")
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("False", "BaseMismatch")
    assert "The previous configuration keeps serving." in sim.condition(SERVE_KEY, "Ready")[2]
    assert sim.cluster.objects(kinds.DEPLOYMENT) == before
    states = {item["name"]: item["reason"] for item in sim.status(SERVE_KEY)["adapters"]}
    assert states == {"tuned": "AdaptersReady", "alien": "BaseMismatch"}
    sim.apply(simulation.SERVE, adapters=[good, {**alien, "optional": True}])
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "AdaptersReady") == ("True", "AdaptersReady")
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")
    assert sim.cluster.objects(kinds.DEPLOYMENT) == before, "the server's configuration is the same"


async def test_manifest_with_another_digest_is_not_served(sim: Simulation) -> None:
    """The digest is compared before the manifest is read."""
    await serving(sim)
    uri = "s3://mens/runs/tampered/1"
    sim.store.put_bytes(refs.Uri.parse(uri) / "manifest.json", b"{}")
    bad = {"name": "tampered", "artifact": {"uri": uri, "digest": "sha256:" + "0" * 64}}
    sim.apply(simulation.SERVE, adapters=[bad])
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "AdaptersReady") == ("False", "DigestMismatch")


async def test_scaling_does_not_restart_pods(sim: Simulation) -> None:
    """The pod template contains neither replicas nor generation."""
    await serving(sim)
    before = sim.cluster.objects(kinds.DEPLOYMENT)[0]["spec"]
    sim.apply(simulation.SERVE, replicas=3)
    await sim.settle()
    after = sim.cluster.objects(kinds.DEPLOYMENT)[0]["spec"]
    assert (before.pop("replicas"), after.pop("replicas")) == (1, 3)
    assert before == after
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("False", "Progressing")
    sim.apply(simulation.SERVE, replicas=0)
    await sim.settle()
    counts = {"replicas": 0, "observedGeneration": 3}
    sim.cluster.set_status(kinds.Key(kinds.DEPLOYMENT, "default", "chat"), counts)
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("False", "ScaledToZero")
    assert sim.status(SERVE_KEY)["selector"]


async def test_cause_of_a_server_crash_is_reported(sim: Simulation) -> None:
    """The termination message of the last crash is mirrored, not only CrashLoopBackOff."""
    await serving(sim)
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 0, "observedGeneration": 1}
    sim.cluster.set_status(kinds.Key(kinds.DEPLOYMENT, "default", "chat"), counts)
    text = '{"reason": "AdapterInvalid", "message": "Rank 7 is none this server loads."}'
    dead = {"exitCode": 64, "message": text}
    deployment = sim.cluster.objects(kinds.DEPLOYMENT)[0]
    status = {
        "phase": "Running",
        "containerStatuses": [
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": dead},
            }
        ],
    }
    meta = {
        "namespace": "default",
        "name": "chat-x",
        "labels": deployment["spec"]["template"]["metadata"]["labels"],
    }
    sim.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status})
    await sim.settle()
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("False", "AdapterInvalid")
    assert "kubectl logs" in sim.condition(SERVE_KEY, "Ready")[2]


async def test_service_of_another_owner_is_not_taken_over(sim: Simulation) -> None:
    """A Service with that name and another owner stays unchanged; an event reports it."""
    sim.add_model()
    meta = {"namespace": "default", "name": "chat"}
    spec = {"selector": {"app": "theirs"}}
    sim.cluster.put({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    sim.apply(simulation.SERVE, adapters=[])
    await sim.settle()
    assert sim.cluster.objects(kinds.SERVICE)[0]["spec"] == spec
    assert not sim.names(kinds.DEPLOYMENT)
    notes = [event["note"] for event in sim.cluster.objects(kinds.EVENT)]
    assert "belongs to another owner" in notes[0]


async def test_unreadable_spec_is_reported(sim: Simulation) -> None:
    """A newer CRD may hold fields that this version does not support."""
    sim.apply(
        simulation.CORPUS, sources=[{"name": "x", "ftp": {"url": "ftp://x"}, "extract": ["X"]}]
    )
    await sim.settle()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("False", "SpecInvalid")
    sim.apply(simulation.CORPUS)
    await sim.settle()
    assert len(sim.jobs(CORPUS_KEY)) == 1
