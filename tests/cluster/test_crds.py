"""The definitions on a real API server: they install, upgrade, explain themselves and refuse."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mens.api import kube
from mens.crdgen import definitions
from tests.support import apiserver, schema_probe

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]

CORPUS: dict[str, Any] = {
    "sources": [{"name": "a", "s3": {"uri": "s3://mens/a/"}, "extract": ["MarkdownSections"]}]
}
RUN: dict[str, Any] = {"baseModel": {"uri": "s3://mens/models/m"}, "corpusRef": {"name": "a"}}
SERVE: dict[str, Any] = {"baseModel": {"uri": "s3://mens/models/m"}}
PROBE: dict[str, Any] = {"color": "Red", "text": "x"}
GOOD = {"MensCorpus": CORPUS, "MensTrainRun": RUN, "MensServe": SERVE, "Probe": PROBE}

SOURCE = CORPUS["sources"][0]
UNSAFE = (
    "No part of the key may be '.' or '..' or have more than 255 characters, and the "
    "bucket's name must not contain '..'."
)
ALL: tuple[type[kube.Resource], ...] = (*definitions.RESOURCES, schema_probe.Probe)
RESOURCES = {each.NAMES.kind: each for each in ALL}
BROKEN: dict[tuple[str, str], dict[str, Any]] = {
    ("MensCorpus", "Give exactly one of: s3, git."): {
        "sources": [{"name": "a", "extract": ["MarkdownSections"]}]
    },
    ("MensCorpus", "Must be a decimal between 0 and 1000."): {
        "sources": [SOURCE | {"weight": "1000.5"}]
    },
    ("MensCorpus", "Must be a decimal between 0 and 0.5."): {"split": {"validationFraction": "1"}},
    ("MensCorpus", UNSAFE): {"sources": [SOURCE | {"s3": {"uri": "s3://mens/a/../b"}}]},
    ("MensTrainRun", UNSAFE): {"baseModel": {"uri": f"s3://mens/{'a' * 256}"}},
    ("MensServe", UNSAFE): {"baseModel": {"uri": "s3://a..b/models/m"}},
    ("MensTrainRun", "Must be a decimal between 0 and 0.9."): {"lora": {"dropout": "0.91"}},
    ("MensTrainRun", "Must be a decimal between 1e-9 and 1."): {"schedule": {"learningRate": "0"}},
    (
        "MensTrainRun",
        "microBatchSize must not exceed effectiveBatchSize; lower microBatchSize.",
    ): {"schedule": {"microBatchSize": 8, "effectiveBatchSize": 4}},
    ("MensServe", "Give exactly one of: trainRunRef, artifact."): {"adapters": [{"name": "a"}]},
    (
        "MensServe",
        "No adapter may have the name of the base model (baseName); rename one of them.",
    ): {"adapters": [{"name": "base", "trainRunRef": {"name": "a"}}]},
    ("Probe", "Give at least one of: color, items."): {"color": None},
    ("Probe", "Give exactly one of: text, ratio."): {"ratio": "0.5"},
    ("Probe", "Give at most one of: left, right."): {
        "items": [{"name": "a", "left": "x", "right": "y"}]
    },
    ("Probe", "low must not exceed high."): {"bounds": {"low": 9}},
    ("Probe", UNSAFE): {"uri": "s3://mens/a/./b"},
    ("Probe", "Must be a decimal between -0.5 and 1e3."): {"text": None, "ratio": "-0.6"},
}
"""Kind and message of a rule → the change that breaks just this rule."""


def rules_of(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get("x-kubernetes-validations", [])
    for child in schema.get("properties", {}).values():
        yield from rules_of(child)
    if "items" in schema:
        yield from rules_of(schema["items"])


def test_every_rule_has_an_example() -> None:
    """A rule that nobody breaks in a test may be a rule that nobody can break."""
    said = {
        (kind, rule["message"])
        for kind, resource in RESOURCES.items()
        for rule in rules_of(definitions.schema_of(resource))
        if "oldSelf" not in rule["rule"]
    }
    assert said == set(BROKEN)


@pytest.mark.parametrize(("kind", "message"), BROKEN, ids=lambda text: text[:40])
def test_rule_accepts_and_refuses(
    kind: str, message: str, server: apiserver.ApiServer, namespace: str
) -> None:
    """The good spec passes; the same spec with one change fails with the rule's own sentence."""
    plural = RESOURCES[kind].NAMES.plural
    good = server.dry_create(namespace, plural, kind, GOOD[kind])
    assert good.accepted, good.message
    bad = server.dry_create(namespace, plural, kind, GOOD[kind] | BROKEN[kind, message])
    assert bad.code == 422
    assert message in bad.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fixed": "other"}, "The field is immutable; create a new resource."),
        ({"fixedOptional": "other"}, "Stays as it is."),
        ({"fixedOptional": None}, "fixedOptional: Stays as it is."),
        ({"text": "other"}, None),
    ],
)
def test_immutable_fields(
    change: dict[str, Any], message: str | None, server: apiserver.ApiServer, namespace: str
) -> None:
    """What is immutable cannot change, come or go; everything else can."""
    path = f"/apis/mens.vox-lang.org/v1alpha1/namespaces/{namespace}/probes"
    body = {
        "apiVersion": kube.API_VERSION,
        "kind": "Probe",
        "metadata": {"name": "fixed"},
        "spec": PROBE | {"fixedOptional": "here"},
    }
    assert server.call("POST", path, body).accepted
    patch = {"spec": change}
    answer = server.call("PATCH", f"{path}/fixed", patch, "application/merge-patch+json")
    assert answer.accepted == (message is None), answer.message
    assert message is None or message in answer.message


def test_unknown_fields_are_refused(server: apiserver.ApiServer, namespace: str) -> None:
    """A typing error in a field name is an error, not a default."""
    spec = RUN | {"schedulee": {"epochs": 3}}
    answer = server.dry_create(namespace, "menstrainruns", "MensTrainRun", spec)
    assert 'unknown field "spec.schedulee"' in answer.message


def test_examples_are_accepted(control_plane: Any, server: Any, namespace: str) -> None:
    """What users copy from examples/ passes the server as it is."""
    for folder in sorted((ROOT / "examples").iterdir()):
        control_plane.kubectl_run(
            "-n", namespace, "create", "--dry-run=server", "--validate=strict", "-f", str(folder)
        )


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (
            "menscorpus",
            "A dataset built from sources, with the license and provenance of every row.",
        ),
        ("menstrainrun.spec.schedule.learningRate", "Peak learning rate"),
        ("mensserve.spec.adapters.trainRunRef", "MensTrainRun whose adapter is served"),
        ("menstrainrun.status.conditions.reason", "Reason for the status in one CamelCase word"),
    ],
)
def test_explain_shows_docstrings(
    path: str, sentence: str, control_plane: Any, server: Any
) -> None:
    """`kubectl explain` is the models' documentation."""
    explained = " ".join(control_plane.kubectl_run("explain", path).split())
    assert sentence in explained


def test_people_find_the_resources(control_plane: Any, server: Any, namespace: str) -> None:
    """Category, short names and columns: `kubectl get mens` shows what a person wants to see."""
    control_plane.kubectl_run(
        "-n", namespace, "apply", "-f", str(ROOT / "examples" / "01-quickstart")
    )
    everything = control_plane.kubectl_run("-n", namespace, "get", "mens", "-o", "name")
    assert len(everything.split()) == 3
    for short, columns in {
        "mc": ["NAME", "SUCCEEDED", "REASON", "TRAIN", "HELD-OUT", "AGE"],
        "mtr": ["NAME", "SUCCEEDED", "REASON", "STEP", "OF", "LOSS", "HELD-OUT", "AGE"],
        "ms": ["NAME", "READY", "REASON", "REPLICAS", "ENDPOINT", "AGE"],
    }.items():
        head = control_plane.kubectl_run("-n", namespace, "get", short).splitlines()[0]
        assert head.split() == columns


def test_scale_writes_replicas(control_plane: Any, server: Any, namespace: str) -> None:
    """Autoscalers and `kubectl scale` work on a MensServe."""
    served = {"apiVersion": kube.API_VERSION, "kind": "MensServe", "metadata": {"name": "s"}}
    text = json.dumps(served | {"spec": SERVE})
    control_plane.kubectl_run("-n", namespace, "apply", "-f", "-", stdin=text)
    control_plane.kubectl_run("-n", namespace, "scale", "mensserve/s", "--replicas=3")
    found = json.loads(control_plane.kubectl_run("-n", namespace, "get", "ms", "s", "-o", "json"))
    assert found["spec"]["replicas"] == 3


def test_status_is_its_own_door(server: apiserver.ApiServer, namespace: str) -> None:
    """The spec's door ignores a status; the status' door merges conditions by type."""
    path = f"/apis/mens.vox-lang.org/v1alpha1/namespaces/{namespace}/menstrainruns"
    body = {
        "apiVersion": kube.API_VERSION,
        "kind": "MensTrainRun",
        "metadata": {"name": "r"},
        "spec": RUN,
        "status": {"attempts": 5},
    }
    assert "status" not in server.call("POST", path, body).body
    for manager, type_ in (("one", "Validated"), ("two", "Running")):
        condition = {
            "type": type_,
            "status": "True",
            "reason": "Running",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        body["status"] = {"conditions": [condition]}
        applied = {key: body[key] for key in ("apiVersion", "kind", "metadata", "status")}
        answer = server.call(
            "PATCH", f"{path}/r/status?fieldManager={manager}", applied,
            "application/apply-patch+yaml",
        )  # fmt: skip
        assert answer.accepted, answer.message
    assert [each["type"] for each in answer.body["status"]["conditions"]] == [
        "Validated",
        "Running",
    ]


def test_definitions_are_structural_and_upgrade_in_place(
    control_plane: Any, server: apiserver.ApiServer, namespace: str
) -> None:
    """No NonStructuralSchema condition; applied again nothing changes; an older one upgrades."""
    name = definitions.name_of(definitions.RESOURCES[1])
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    before = server.call("GET", path).body
    states = {each["type"]: each["status"] for each in before["status"]["conditions"]}
    assert "NonStructuralSchema" not in states
    assert states["Established"] == states["NamesAccepted"] == "True"

    file = ROOT / "crds" / "mens.vox-lang.org_menstrainruns.yaml"
    assert "unchanged" in control_plane.kubectl_run("apply", "-f", str(file))

    older = copy.deepcopy(yaml.safe_load(file.read_text()))
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["queueName"]
    control_plane.kubectl_run("apply", "-f", "-", stdin=json.dumps(older))
    control_plane.kubectl_run("apply", "-f", str(file))
    after = server.call("GET", path).body
    assert after["spec"] == before["spec"]
