"""Scenarios by state: what is observed, as YAML, and the plan's outcome, as YAML.

`pytest tests/scenario --update-expected` rewrites the expected files; review the diff.
A scenario names the resource's spec and, where they matter, status, other resources, children,
and what the store answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from mens.artifacts import manifests
from mens.runtime import jobs
from mens_operator import store_reader
from mens_operator.plans import facts, outcomes, planner
from tests.support import consistency, goldens, simulation

DATA = Path(__file__).parent / "data"
INPUTS = sorted(path for path in DATA.glob("*.yaml") if not path.name.endswith(".expected.yaml"))


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def answers(store: Mapping[str, Any]) -> dict[facts.Query, facts.Answer]:
    """Read `storage`, `base`, `outputs` and `progress` of a scenario."""
    world = simulation.Simulation()
    out: dict[facts.Query, facts.Answer] = {}

    def read_artifact(uri: str, value: Any, kind: str) -> facts.Answer:
        if isinstance(value, dict) and "reason" in value:
            return facts.Problem(**value)
        made = manifests.Kind(kind)
        inputs = tuple(manifests.Input.model_validate(item) for item in value.get("inputs", ()))
        known = value.get("license", "known") == "known"
        details = value.get("details", {})
        world.publish(uri, made, known_license=known, inputs=inputs, details=details)
        query = facts.BaseModel(uri) if kind == "Model" else facts.Output(uri)
        return store_reader.read(world.store, query)

    bucket = store.get("storage", "works")
    out[facts.Storage("s3://mens")] = (
        facts.StorageReady() if bucket == "works" else facts.Problem(**bucket)
    )
    for uri, value in (store.get("bases") or {}).items():
        out[facts.BaseModel(uri)] = read_artifact(uri, value, "Model")
    for uri, value in (store.get("outputs") or {}).items():
        answer = read_artifact(uri, value, value.get("kind", "Adapter"))
        digest = value.get("asked")
        if digest is None and isinstance(answer, facts.Artifact):
            out[facts.Output(uri, str(answer.digest))] = answer
        out[facts.Output(uri, digest)] = answer
    for uri, value in (store.get("progress") or {}).items():
        out[facts.Progress(uri)] = jobs.Progress.model_validate(value)
    world.close()
    return out


def planned(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Plan a scenario and show the outcome as plain data."""
    references = {
        (item["kind"], item["metadata"]["name"]): item for item in scenario.get("references") or ()
    }
    outcome = planner.plan(
        scenario["resource"],
        outcomes.Observed(
            tuple(scenario.get("children") or ()), references, answers(scenario.get("store") or {})
        ),
        now=datetime.fromisoformat(scenario["now"]),
        installation=simulation.INSTALLATION,
        policy=simulation.POLICY,
    )
    return {
        "objects": [dict(obj) for obj in outcome.objects],
        "removals": [f"{item.kind} {item.name}" for item in outcome.removals],
        "status": dict(outcome.status) if outcome.status is not None else None,
        "events": [f"{'Warning' if n.warning else 'Normal'} {n.reason}" for n in outcome.events],
        "requeueAfter": outcome.requeue_after,
        "asks": [str(query) for query in outcome.queries],
    }


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_input_is_consistent(path: Path) -> None:
    """A cluster can be in the state of the input; see `tests.support.consistency`."""
    scenario = read(path)
    objects = [
        scenario["resource"],
        *(scenario.get("references") or ()),
        *(scenario.get("children") or ()),
    ]
    consistency.check(objects, now=datetime.fromisoformat(scenario["now"]))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_scenario(path: Path, golden: goldens.Golden) -> None:
    """The outcome of the plan for the input equals the expected file."""
    actual = planned(read(path))
    expected = path.with_suffix(".expected.yaml")
    golden.check(expected, yaml.safe_dump(actual, sort_keys=False, allow_unicode=True, width=100))


def test_expected_files_belong_to_scenarios() -> None:
    """No expected file is left over from a scenario that was deleted."""
    stems = {path.stem for path in INPUTS}
    for path in DATA.glob("*.expected.yaml"):
        assert path.name.removesuffix(".expected.yaml") in stems
