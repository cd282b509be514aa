"""Planning never raises: a condition reports what cannot be planned, and it is retried."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mens.api import serve
from mens.artifacts import refs
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
def test_any_spec_is_planned_or_reported_as_unreadable(kind: str, spec: dict[str, Any]) -> None:
    """A CRD of another version may hold any JSON: neither plan nor references raise."""
    meta = {"namespace": "default", "name": "a", "uid": "u", "generation": 1}
    raw = {"apiVersion": "mens.vox-lang.org/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
    assert isinstance(planner.references(raw), frozenset)
    outcome = planned(raw)
    assert outcome.queries or (outcome.status and outcome.requeue_after)


@pytest.mark.parametrize("progress", UNREADABLE)
async def test_invalid_progress_does_not_fail_a_run(
    sim: Simulation, progress: dict[str, Any]
) -> None:
    """It is ignored, and the run succeeds."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    output = refs.Uri.parse(sim.mens_job(CORPUS_KEY)["output"])
    sim.store.put_bytes(output / "progress.json", json.dumps(progress).encode())
    await sim.advance(20)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("Unknown", "Running")
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_planning_error_is_reported_and_retried(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InternalError with type and place, without the text of the error; then it recovers."""
    sim.add_model()

    def broken(*_given: Any, **_named: Any) -> outcomes.Outcome:
        raise RuntimeError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(endpoints, "plan", broken)
        sim.apply(simulation.SERVE, adapters=[])
        await sim.settle()
    status, reason, text = sim.condition(SERVE_KEY, "Ready")
    assert (status, reason) == ("False", "InternalError")
    assert text.startswith("RuntimeError at test_planner_errors.py:")
    assert "secret" not in text
    await sim.advance(15)
    assert sim.names(kinds.DEPLOYMENT) == ["chat"]


async def test_planning_error_does_not_undo_an_end(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an edit of the TTL only, a finished run does not run again."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()

    def broken(*_given: Any, **_named: Any) -> outcomes.Outcome:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(runs, "plan", broken)
        sim.apply(simulation.CORPUS, ttlSecondsAfterFinished=10**6)
        await sim.settle()
    assert sim.status_and_reason(CORPUS_KEY, "Running") == ("False", "InternalError")
    sim.cluster.writes.clear()
    await sim.advance(60)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    assert {write.key.kind for write in sim.writes()} == {kinds.CORPUS}


async def test_unreadable_run_starts_once_it_is_readable(sim: Simulation) -> None:
    """An unreadable edit of a finished resource is not latched as its end."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.build_corpus()
    sim.apply(simulation.CORPUS, sources="a form of the future")
    await sim.settle()
    status, reason, text = sim.condition(CORPUS_KEY, "Succeeded")
    assert (status, reason) == ("False", "SpecInvalid")
    assert text.startswith('spec.sources is "a form of the future": ')
    raw = next(iter(sim.cluster.objects(kinds.CORPUS)))
    spec = yaml.safe_load(simulation.CORPUS)["spec"]
    outcome = planned({**raw, "spec": {**spec, "split": {"seed": 18}}})
    assert outcome.queries, "it looks whether the store works, to start the run"


@pytest.mark.parametrize("optional", [False, True])
async def test_invalid_artifact_uri_is_a_problem_of_its_adapter(
    sim: Simulation, optional: bool
) -> None:
    """The reported URI is checked; an optional adapter does not block the others."""
    sim.add_model()
    run = sim.apply(simulation.TRAINRUN)
    sim.cluster.set_status(
        RUN_KEY,
        {
            "completionTime": sim.timestamp(),
            "observedGeneration": run["metadata"]["generation"],
            "artifact": {"uri": "s3://mens/a/../b", "digest": "sha256:" + "0" * 64, "sizeBytes": 1},
            "conditions": [
                {
                    "type": "Succeeded",
                    "status": "True",
                    "reason": "Succeeded",
                    "lastTransitionTime": sim.timestamp(),
                }
            ],
        },
    )
    adapter = {"name": "tuned", "trainRunRef": {"name": "tune"}, "optional": optional}
    sim.apply(simulation.SERVE, adapters=[adapter])
    await sim.settle()
    (state,) = sim.status(SERVE_KEY)["adapters"]
    assert (state["ready"], state["reason"]) == (False, "NameRefused")
    assert "s3://mens/a/../b" in state["message"]
    assert "MensTrainRun tune" in state["message"]
    assert serve.MensServeStatus.model_validate(sim.status(SERVE_KEY))
    assert bool(sim.names(kinds.DEPLOYMENT)) is optional


async def test_invalid_corpus_uri_blocks_the_run(sim: Simulation) -> None:
    """The reported URI is checked before a Job is created."""
    await sim.start_run()
    changed = sim.status(CORPUS_KEY)
    changed["artifact"]["uri"] = "s3://mens/a/../b"
    sim.cluster.set_status(CORPUS_KEY, changed)
    for job in sim.jobs(RUN_KEY):
        await sim.cluster.delete(kinds.key_of(job))
    await sim.advance(10)
    status, reason, text = sim.condition(RUN_KEY, "Validated")
    assert (status, reason) == ("False", "NameRefused")
    assert "MensCorpus docs reports it in status.artifact.uri" in text


def test_invalid_bucket_is_reported(sim: Simulation) -> None:
    """It is a setting of the installation: every run reports it, and nothing starts."""
    query = facts.Storage("mens")
    outcome = planner.plan(
        sim.apply(simulation.CORPUS),
        outcomes.Observed(answers={query: store_reader.read(sim.store, query)}),
        now=simulation.START,
        installation=dataclasses.replace(simulation.INSTALLATION, bucket="mens"),
        policy=simulation.POLICY,
    )
    assert not outcome.objects
    assert outcome.status is not None
    by_type = {item["type"]: item for item in outcome.status["conditions"]}
    assert (by_type["Succeeded"]["status"], by_type["Succeeded"]["reason"]) == (
        "Unknown",
        "NameRefused",
    )
    assert "'mens' is not an S3 URI" in by_type["StorageReady"]["message"]
