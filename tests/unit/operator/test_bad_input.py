"""Bad input: the resource says so in a condition with reason and next step, and recovers."""

from __future__ import annotations

from typing import Any

import pytest

from mens.artifacts import manifests
from mens_operator.cluster import kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, SERVE_KEY, Simulation


async def with_corpus(sim: Simulation) -> None:
    sim.user(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()


async def test_a_run_without_corpus_or_base_names_both(sim: Simulation) -> None:
    """Nothing is started, each condition has its own cause."""
    sim.add_model(known_license=False)
    sim.user(simulation.TRAINRUN)
    await sim.settle()
    assert sim.said(RUN_KEY, "Validated") == ("False", "CorpusNotFound")
    assert sim.said(RUN_KEY, "LicenseCleared") == ("False", "LicenseUnknown")
    assert "mens model import" in sim.condition(RUN_KEY, "LicenseCleared")[2]
    assert "jobName" not in sim.status(RUN_KEY)
    assert not sim.jobs(RUN_KEY)


async def test_a_base_that_is_not_there_is_found_once_it_is(sim: Simulation) -> None:
    """BaseModelNotFound names the command; the run starts by itself afterwards."""
    await with_corpus(sim)
    sim.user(simulation.TRAINRUN)
    await sim.settle()
    assert sim.said(RUN_KEY, "Validated") == ("False", "BaseModelNotFound")
    assert "mens model import" in sim.condition(RUN_KEY, "Validated")[2]
    sim.add_model()
    await sim.advance(35)
    assert len(sim.jobs(RUN_KEY)) == 1


async def test_files_without_manifest_and_pickles_are_told_apart(sim: Simulation) -> None:
    """A folder that was only uploaded wants an import; a pickle is refused by its name."""
    await with_corpus(sim)
    folder = simulation.refs.Uri.parse("s3://mens/models/tiny/1")
    sim.store.put_bytes(folder / "config.json", b"{}")
    sim.user(simulation.TRAINRUN)
    await sim.settle()
    assert sim.said(RUN_KEY, "Validated") == ("False", "BaseModelNotImported")
    sim.store.put_bytes(folder / "pytorch_model.bin", b"\x80")
    await sim.advance(35)
    assert sim.said(RUN_KEY, "Validated") == ("False", "PickleRefused")
    assert "pytorch_model.bin" in sim.condition(RUN_KEY, "Validated")[2]


async def test_an_unreachable_store_holds_everything_and_lets_go(sim: Simulation) -> None:
    """StorageReady names the error on corpus, run and endpoint; nothing is started meanwhile."""
    sim.add_model()
    with sim.store_down():
        sim.user(simulation.CORPUS)
        sim.user(simulation.TRAINRUN)
        sim.user(simulation.SERVE)
        await sim.advance(10)
        for key in (CORPUS_KEY, RUN_KEY, SERVE_KEY):
            assert sim.said(key, "StorageReady") == ("False", "StorageUnreachable"), key
        assert not sim.names_of(kinds.JOB)
    await sim.advance(30)
    await sim.build_corpus()
    await sim.advance(60)
    await sim.train()
    assert sim.said(RUN_KEY, "StorageReady") == ("True", "StorageReady")


async def test_a_missing_bucket_is_named(sim: Simulation) -> None:
    """The installation's own bucket is not there yet."""
    sim.store = type(sim.store)([])
    sim.restart()
    sim.user(simulation.CORPUS)
    await sim.settle()
    assert sim.said(CORPUS_KEY, "StorageReady") == ("False", "BucketNotFound")
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
async def test_a_pod_that_cannot_start_is_mirrored(
    sim: Simulation, pod: dict[str, Any], reason: str, words: str
) -> None:
    """The words of scheduler and kubelet, and a next step, after a short grace."""
    sim.user(simulation.CORPUS)
    await sim.settle()
    job = sim.job(CORPUS_KEY)
    sim.cluster.set_status(kinds.key_of(job), {"active": 1, "startTime": sim.stamp()})
    sim.make_pod(job, {"phase": "Pending", **pod})
    await sim.settle()
    assert not sim.status(CORPUS_KEY)
    await sim.advance(4)
    assert sim.said(CORPUS_KEY, "Running") == ("False", reason)
    message = sim.condition(CORPUS_KEY, "Running")[2]
    assert words in message
    assert len(message) > len(words) + 20
    await sim.run_pod(CORPUS_KEY)
    assert sim.said(CORPUS_KEY, "Running") == ("True", "Running")


async def serving(sim: Simulation) -> None:
    sim.add_model()
    await with_corpus(sim)
    sim.user(simulation.TRAINRUN)
    await sim.settle()
    await sim.train()
    sim.user(simulation.SERVE)
    await sim.settle()
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "observedGeneration": 1}
    sim.cluster.set_status(kinds.Key(kinds.DEPLOYMENT, "default", "chat"), counts)
    await sim.settle()
    assert sim.said(SERVE_KEY, "Ready") == ("True", "Serving")


async def test_an_adapter_of_another_base_leaves_what_runs_alone(sim: Simulation) -> None:
    """BaseMismatch by digest; the Deployment is not touched, an optional adapter is left out."""
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
    sim.user(simulation.SERVE, adapters=[good, alien])
    await sim.settle()
    assert sim.said(SERVE_KEY, "AdaptersReady") == ("False", "BaseMismatch")
    assert sim.said(SERVE_KEY, "Ready") == ("False", "BaseMismatch")
    assert "The previous configuration keeps serving." in sim.condition(SERVE_KEY, "Ready")[2]
    assert sim.cluster.objects(kinds.DEPLOYMENT) == before
    states = {item["name"]: item["reason"] for item in sim.status(SERVE_KEY)["adapters"]}
    assert states == {"tuned": "AdaptersReady", "alien": "BaseMismatch"}
    sim.user(simulation.SERVE, adapters=[good, {**alien, "optional": True}])
    await sim.settle()
    assert sim.said(SERVE_KEY, "AdaptersReady") == ("True", "AdaptersReady")
    assert sim.said(SERVE_KEY, "Ready") == ("True", "Serving")
    assert sim.cluster.objects(kinds.DEPLOYMENT) == before, "the server's configuration is the same"


async def test_a_manifest_with_other_bytes_is_not_served(sim: Simulation) -> None:
    """The digest is compared before the manifest is read."""
    await serving(sim)
    uri = "s3://mens/runs/tampered/1"
    sim.store.put_bytes(simulation.refs.Uri.parse(uri) / "manifest.json", b"{}")
    bad = {"name": "tampered", "artifact": {"uri": uri, "digest": "sha256:" + "0" * 64}}
    sim.user(simulation.SERVE, adapters=[bad])
    await sim.settle()
    assert sim.said(SERVE_KEY, "AdaptersReady") == ("False", "DigestMismatch")


async def test_scaling_does_not_restart_pods(sim: Simulation) -> None:
    """The pod template knows neither replicas nor generation."""
    await serving(sim)
    before = sim.cluster.objects(kinds.DEPLOYMENT)[0]["spec"]
    sim.user(simulation.SERVE, replicas=3)
    await sim.settle()
    after = sim.cluster.objects(kinds.DEPLOYMENT)[0]["spec"]
    assert (before.pop("replicas"), after.pop("replicas")) == (1, 3)
    assert before == after
    assert sim.said(SERVE_KEY, "Ready") == ("False", "Progressing")
    sim.user(simulation.SERVE, replicas=0)
    await sim.settle()
    counts = {"replicas": 0, "observedGeneration": 3}
    sim.cluster.set_status(kinds.Key(kinds.DEPLOYMENT, "default", "chat"), counts)
    await sim.settle()
    assert sim.said(SERVE_KEY, "Ready") == ("False", "ScaledToZero")
    assert sim.status(SERVE_KEY)["selector"]


async def test_a_server_that_dies_says_why(sim: Simulation) -> None:
    """The termination message of the last crash is mirrored, not just CrashLoopBackOff."""
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
    assert sim.said(SERVE_KEY, "Ready") == ("False", "AdapterInvalid")
    assert "kubectl logs" in sim.condition(SERVE_KEY, "Ready")[2]


async def test_a_strangers_service_is_never_taken_over(sim: Simulation) -> None:
    """A Service of that name that is not ours stays as it is; an event says so."""
    sim.add_model()
    meta = {"namespace": "default", "name": "chat"}
    spec = {"selector": {"app": "theirs"}}
    sim.cluster.put({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    sim.user(simulation.SERVE, adapters=[])
    await sim.settle()
    assert sim.cluster.objects(kinds.SERVICE)[0]["spec"] == spec
    assert not sim.names_of(kinds.DEPLOYMENT)
    notes = [event["note"] for event in sim.cluster.objects(kinds.EVENT)]
    assert "not ours" in notes[0]


async def test_a_spec_that_this_operator_cannot_read_is_said(sim: Simulation) -> None:
    """A newer CRD may hold what this version does not know."""
    sim.user(
        simulation.CORPUS, sources=[{"name": "x", "ftp": {"url": "ftp://x"}, "extract": ["X"]}]
    )
    await sim.settle()
    assert sim.said(CORPUS_KEY, "Succeeded") == ("False", "SpecInvalid")
    sim.user(simulation.CORPUS)
    await sim.settle()
    assert len(sim.jobs(CORPUS_KEY)) == 1
