"""Planning never raises: what cannot be planned is said in a condition, and tried again."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mens.api import serve
from mens_operator import store_reader
from mens_operator.cluster import kinds
from mens_operator.plans import facts, outcomes, planner, runs
from mens_operator.plans import serve as endpoints
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, SERVE_KEY, Simulation

KINDS = ("MensCorpus", "MensTrainRun", "MensServe")
UNREADABLE = (
    {"stage": "x" * 65, "step": 1},
    {"stage": "Training", "etaSeconds": -1},
    {"stage": "Training", "loss": "1" * 40},
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "uri", "corpusRef", "trainRunRef", "adapters", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def planned(raw: dict[str, Any]) -> outcomes.Outcome:
    return planner.plan(
        raw,
        outcomes.Observed(),
        now=simulation.START,
        installation=simulation.INSTALLATION,
        policy=simulation.POLICY,
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(KINDS),
    spec=st.dictionaries(
        st.sampled_from(["sources", "baseModel", "corpusRef", "adapters", "replicas", "resources"]),
        anything,
    ),
)
def test_any_spec_is_planned_or_said_to_be_unreadable(kind: str, spec: dict[str, Any]) -> None:
    """A CRD of another version may hold any JSON: neither the plan nor the references raise."""
    meta = {"namespace": "default", "name": "a", "uid": "u", "generation": 1}
    raw = {"apiVersion": "mens.vox-lang.org/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
    assert isinstance(planner.references(raw), frozenset)
    outcome = planned(raw)
    assert outcome.queries or (outcome.status and outcome.requeue_after)


@pytest.mark.parametrize("progress", UNREADABLE)
async def test_progress_that_the_api_does_not_allow_harms_no_run(
    sim: Simulation, progress: dict[str, Any]
) -> None:
    """It is left out, and a good run succeeds."""
    sim.user(simulation.CORPUS)
    await sim.settle()
    await sim.run_pod(CORPUS_KEY)
    output = simulation.refs.Uri.parse(sim.work(CORPUS_KEY)["output"])
    sim.store.put_bytes(output / "progress.json", json.dumps(progress).encode())
    await sim.advance(20)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("Unknown", "Running")
    await sim.build_corpus()
    assert sim.said(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_a_defect_of_a_plan_is_said_and_passes(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InternalError with kind and place, never the text of the error; then it goes on by itself."""
    sim.add_model()

    def broken(*_given: Any, **_named: Any) -> outcomes.Outcome:
        raise RuntimeError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(endpoints, "plan", broken)
        sim.user(simulation.SERVE, adapters=[])
        await sim.settle()
    status, reason, text = sim.condition(SERVE_KEY, "Ready")
    assert (status, reason) == ("False", "InternalError")
    assert text.startswith("RuntimeError at test_totality.py:")
    assert "secret" not in text
    await sim.advance(15)
    assert sim.names_of(kinds.DEPLOYMENT) == ["chat"]


async def test_a_defect_of_a_plan_does_not_undo_an_end(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the time to live was edited: what is done is not run anew afterwards."""
    sim.user(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()

    def broken(*_given: Any, **_named: Any) -> outcomes.Outcome:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(runs, "plan", broken)
        sim.user(simulation.CORPUS, ttlSecondsAfterFinished=10**6)
        await sim.settle()
    assert sim.said(CORPUS_KEY, "Running") == ("False", "InternalError")
    sim.cluster.writes.clear()
    await sim.advance(60)
    assert sim.said(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    assert {write.key.kind for write in sim.writes()} == {kinds.CORPUS}


async def test_a_run_that_could_not_be_read_runs_once_it_can(sim: Simulation) -> None:
    """An unreadable edit of a finished resource is not latched as its end."""
    sim.user(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()
    sim.user(simulation.CORPUS, sources="a form of the future")
    await sim.settle()
    status, reason, text = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("False", "SpecInvalid")
    assert text.startswith('spec.sources is "a form of the future": ')
    raw = next(iter(sim.cluster.objects(kinds.CORPUS)))
    spec = simulation.yaml.safe_load(simulation.CORPUS)["spec"]
    outcome = planned({**raw, "spec": {**spec, "split": {"seed": 18}}})
    assert outcome.queries, "it looks whether the store works, to start the run"


@pytest.mark.parametrize("optional", [False, True])
async def test_an_artifact_of_an_impossible_name_is_a_trouble_of_its_adapter(
    sim: Simulation, optional: bool
) -> None:
    """What a run reports is checked; an optional adapter does not hold up the others."""
    sim.add_model()
    run = sim.user(simulation.TRAINRUN)
    sim.cluster.set_status(
        RUN_KEY,
        {
            "completionTime": sim.stamp(),
            "observedGeneration": run["metadata"]["generation"],
            "artifact": {"uri": "s3://mens/a/../b", "digest": "sha256:" + "0" * 64, "sizeBytes": 1},
            "conditions": [
                {
                    "type": "Succeeded",
                    "status": "True",
                    "reason": "Succeeded",
                    "lastTransitionTime": sim.stamp(),
                }
            ],
        },
    )
    adapter = {"name": "tuned", "trainRunRef": {"name": "tune"}, "optional": optional}
    sim.user(simulation.SERVE, adapters=[adapter])
    await sim.settle()
    (state,) = sim.status(SERVE_KEY)["adapters"]
    assert (state["ready"], state["reason"]) == (False, "NameRefused")
    assert "s3://mens/a/../b" in state["message"]
    assert "MensTrainRun tune" in state["message"]
    assert serve.MensServeStatus.model_validate(sim.status(SERVE_KEY))
    assert bool(sim.names_of(kinds.DEPLOYMENT)) is optional


async def test_a_corpus_of_an_impossible_name_is_an_obstacle(sim: Simulation) -> None:
    """What a corpus reports is checked before a run is started."""
    await sim.begin_run()
    said = sim.status(CORPUS_KEY)
    said["artifact"]["uri"] = "s3://mens/a/../b"
    sim.cluster.set_status(CORPUS_KEY, said)
    for job in sim.jobs(RUN_KEY):
        await sim.cluster.delete(kinds.key_of(job))
    await sim.advance(10)
    status, reason, text = sim.condition(RUN_KEY, "Validated")
    assert (status, reason) == ("False", "NameRefused")
    assert "MensCorpus docs reports it in status.artifact.uri" in text


def test_a_bucket_of_an_impossible_name_is_said(sim: Simulation) -> None:
    """It is the installation's own: every run says so, and nothing is started."""
    query = facts.Storage("mens")
    outcome = planner.plan(
        sim.user(simulation.CORPUS),
        outcomes.Observed(answers={query: store_reader.read(sim.store, query)}),
        now=simulation.START,
        installation=dataclasses.replace(simulation.INSTALLATION, bucket="mens"),
        policy=simulation.POLICY,
    )
    assert not outcome.objects
    assert outcome.status is not None
    said = {item["type"]: item for item in outcome.status["conditions"]}
    assert (said["Succeeded"]["status"], said["Succeeded"]["reason"]) == ("Unknown", "NameRefused")
    assert "'mens' is not an S3 URI" in said["StorageReady"]["message"]
