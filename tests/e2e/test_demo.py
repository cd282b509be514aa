"""`make demo` as a whole: the real standard library, the real SmolLM2, and what it prints last."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from hack.demo import job, kubectl, platform
from mens.artifacts import manifests, refs, s3
from tests.e2e import conftest, resources

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def last(printed: str) -> dict[str, Any]:
    """The last line, which machines read."""
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def test_the_adapter_learns_the_task(last: dict[str, Any]) -> None:
    """The held-out loss falls, and the adapter answers more of the held-out questions."""
    assert last["demo"] == "ok"
    assert last["heldout_loss"]["after"] < last["heldout_loss"]["before"]
    assert last["answers"]["adapter"]["right"] > last["answers"]["base"]["right"]
    assert last["answers"]["adapter"]["of"] == last["answers"]["base"]["of"] == job.QUESTIONS


def test_the_last_line_is_the_contract(last: dict[str, Any]) -> None:
    """Digests, licenses of base and sources, and the figures of machine and run."""
    assert set(last) == {
        "demo",
        "seconds",
        "heldout_loss",
        "answers",
        "digests",
        "licenses",
        "tokens_per_second",
        "peak_rss_mb",
    }
    assert set(last["digests"]) == {"corpus", "adapter"}
    assert all(digest.startswith("sha256:") for digest in last["digests"].values())
    assert {"Apache-2.0", "PSF-2.0"} <= set(last["licenses"])
    assert {"install", "corpus", "train", "serve", "ask", "total"} <= set(last["seconds"])
    assert last["tokens_per_second"] > 0
    assert last["peak_rss_mb"] > 0


def test_dropped_rows_are_counted(
    printed: str, last: dict[str, Any], kube: kubectl.Kubectl
) -> None:
    """The standard library has thousands of functions without docstrings, and doubles."""
    found = kube.get(job.NAMESPACE, "menscorpus", job.NAME)
    assert found is not None
    rows = found["status"]["rows"]
    assert rows["filtered"] > 1000
    assert rows["duplicate"] > 0


def test_the_report_has_answers_lineage_and_next_commands(printed: str) -> None:
    """Both models' answers, the licenses down to the sources, and commands that work."""
    for word in (job.BASE, job.NAME, "PSF-2.0", "sha256:", "export KUBECONFIG=", "demo-down"):
        assert word in printed


@pytest.mark.usefixtures("printed")
def test_every_row_belongs_to_a_split_and_every_license_is_known(kube: kubectl.Kubectl) -> None:
    """The corpus has rows to train on, rows that are held out, and a license expression."""
    found = kube.get(job.NAMESPACE, "menscorpus", job.NAME)
    assert found is not None
    assert found["status"]["rows"]["train"] > 0
    assert found["status"]["rows"]["validation"] > 0
    expression = found["status"]["compliance"]["licenseExpression"]
    assert {"Apache-2.0", "PSF-2.0"} <= set(expression.split(" AND "))


@pytest.mark.usefixtures("printed")
def test_the_adapter_in_the_store_is_the_one_of_the_status(
    kube: kubectl.Kubectl, target: s3.S3Store
) -> None:
    """Its manifest has the digest that the status shows, and names what was made of what."""
    run = kube.get(job.NAMESPACE, "menstrainrun", job.NAME)
    assert run is not None
    assert {entry["role"] for entry in run["status"]["lineage"]} == {"Base", "Corpus"}
    artifact = {key: run["status"]["artifact"][key] for key in ("uri", "digest")}
    manifest, digest = manifests.read(target, refs.ArtifactRef.model_validate(artifact))
    assert str(digest) == artifact["digest"]
    assert {"adapter_config.json", "adapter_model.safetensors", "telemetry.jsonl"} <= {
        file.path for file in manifest.files
    }


@pytest.mark.usefixtures("printed")
def test_the_endpoint_serves_both_models_and_no_other(kube: kubectl.Kubectl) -> None:
    """An unknown model is not found."""
    with kube.forward(job.NAMESPACE, f"service/{job.NAME}", 8000) as address:
        for model in (job.BASE, job.NAME):
            assert _post(address, model)["choices"][0]["message"]["role"] == "assistant"
        with pytest.raises(urllib.error.HTTPError) as caught:
            _post(address, "unknown")
        assert caught.value.code == 404


@pytest.mark.usefixtures("printed")
def test_the_adapter_is_refused_on_another_base(
    kube: kubectl.Kubectl, storage: platform.Storage, tmp_path: Path
) -> None:
    """A run that names its adapter by reference does not hide that the base differs."""
    other = conftest.import_tiny(storage, tmp_path, "other", seed=2)
    manifest = resources.serve(job.NAMESPACE, other, {"trainRunRef": {"name": job.NAME}})
    manifest["metadata"]["name"] = "elsewhere"
    kube.apply(manifest)
    what = (job.NAMESPACE, "mensserve", "elsewhere")
    found = conftest.awaited(kube, what, "AdaptersReady", "BaseMismatch", 150)
    assert kubectl.condition_of(found, "AdaptersReady").get("reason") == "BaseMismatch", found
    assert found["status"]["adapters"][0]["ready"] is False


def _post(address: str, model: str) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    request = urllib.request.Request(
        f"http://{address}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))
