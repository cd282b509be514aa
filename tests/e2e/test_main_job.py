"""The main job on the real thing: images, jobs, store, endpoint; with a tiny model, to be quick."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from hack.demo import kubectl, platform
from mens.artifacts import manifests, refs, s3
from tests.e2e import conftest, resources

pytestmark = pytest.mark.e2e


def _upload(target: s3.S3Store, folder: str) -> str:
    for number in range(6):
        uri = refs.Uri.parse(f"s3://mens/{folder}/module_{number}.py")
        text = resources.functions(4).replace("add_", f"add_{number}_")
        target.put_bytes(uri, text.encode())
    return f"s3://mens/{folder}/"


def _post(address: str, model: str) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    request = urllib.request.Request(
        f"http://{address}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


def test_sources_become_an_endpoint_that_answers(
    kube: kubectl.Kubectl,
    storage: platform.Storage,
    target: s3.S3Store,
    base: str,
    space: str,
    wait_for: Any,
    tmp_path: Path,
) -> None:
    """Corpus, run and endpoint succeed in turn; the adapter is refused on another base."""
    kube.apply(
        resources.corpus(space, _upload(target, f"sources/{space}")),
        resources.train_run(space, base),
        resources.serve(space, base, {"trainRunRef": {"name": "run"}}),
    )
    corpus = wait_for("menscorpus", "corpus", "Succeeded", "Succeeded")
    assert corpus["status"]["rows"]["train"] > 0
    assert corpus["status"]["rows"]["validation"] > 0
    assert corpus["status"]["compliance"]["licenseExpression"] == "Apache-2.0"
    run = wait_for("menstrainrun", "run", "Succeeded", "Succeeded")
    assert {entry["role"] for entry in run["status"]["lineage"]} == {"Base", "Corpus"}
    artifact = {key: run["status"]["artifact"][key] for key in ("uri", "digest")}
    manifest, digest = manifests.read(target, refs.ArtifactRef.model_validate(artifact))
    assert str(digest) == artifact["digest"]
    assert {"adapter_config.json", "adapter_model.safetensors", "telemetry.jsonl"} <= {
        file.path for file in manifest.files
    }
    wait_for("mensserve", "serve", "Ready", "Serving")
    with kube.forward(space, "service/serve", 8000) as address:
        for model in ("tiny", "adapter"):
            assert _post(address, model)["choices"][0]["message"]["role"] == "assistant"
        with pytest.raises(urllib.error.HTTPError) as caught:
            _post(address, "unknown")
        assert caught.value.code == 404
    other = conftest.import_tiny(storage, tmp_path, f"other-{space}", seed=2)
    manifest = resources.serve(space, other, {"trainRunRef": {"name": "run"}})
    manifest["metadata"]["name"] = "elsewhere"
    kube.apply(manifest)
    found = wait_for("mensserve", "elsewhere", "AdaptersReady", "BaseMismatch")
    assert found["status"]["adapters"][0]["ready"] is False
