"""Bad input is named in a condition; a run recovers by itself once the cause is gone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from hack.demo import kubectl, platform
from mens.artifacts import refs, s3
from tests.e2e import resources
from tests.support import models

pytestmark = pytest.mark.e2e


def _message(found: dict[str, Any], condition: str) -> str:
    return str(kubectl.condition_of(found, condition)["message"])


def test_missing_source_recovers(
    kube: kubectl.Kubectl, target: s3.S3Store, space: str, wait_for: Any
) -> None:
    """A source that does not exist is named; once it is there the corpus succeeds by itself."""
    folder = f"s3://mens/late/{space}/"
    kube.apply(resources.corpus(space, folder))
    found = wait_for("menscorpus", "corpus", "SourcesReady", "SourceNotFound")
    assert folder.rstrip("/") in _message(found, "SourcesReady")
    assert "artifact" not in found["status"]
    for number in range(4):
        text = resources.functions(3).replace("add_", f"late_{number}_")
        target.put_bytes(refs.Uri.parse(f"{folder}m{number}.py"), text.encode())
    wait_for("menscorpus", "corpus", "Succeeded", "Succeeded")


def test_empty_corpus(kube: kubectl.Kubectl, target: s3.S3Store, space: str, wait_for: Any) -> None:
    """A source without a single documented function says so and publishes nothing."""
    target.put_bytes(refs.Uri.parse(f"s3://mens/empty/{space}/empty.py"), b"x = 1\n")
    kube.apply(resources.corpus(space, f"s3://mens/empty/{space}/"))
    found = wait_for("menscorpus", "corpus", "Succeeded", "EmptyCorpus")
    assert "artifact" not in found["status"]


def test_wrong_credentials_recover(
    kube: kubectl.Kubectl, target: s3.S3Store, space: str, wait_for: Any
) -> None:
    """Refused credentials are named without the secret; correcting them is enough."""
    secret = kube.get(space, "secret", "mens-s3")
    assert secret is not None
    good = secret["data"]
    bad = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mens-s3", "namespace": space},
    }
    wrong = base64.b64encode(b"hidden-but-wrong").decode()
    kube.apply({**bad, "data": {**good, "AWS_SECRET_ACCESS_KEY": wrong}})
    for number in range(4):
        text = resources.functions(3).replace("add_", f"cred_{number}_")
        target.put_bytes(refs.Uri.parse(f"s3://mens/cred/{space}/m{number}.py"), text.encode())
    kube.apply(resources.corpus(space, f"s3://mens/cred/{space}/"))
    found = wait_for("menscorpus", "corpus", "StorageReady", "StorageDenied")
    assert "hidden-but-wrong" not in json.dumps(found)
    kube.apply({**bad, "data": good})
    wait_for("menscorpus", "corpus", "Succeeded", "Succeeded")


def test_store_outage_recovers(kube: kubectl.Kubectl, space: str, wait_for: Any) -> None:
    """A store that does not answer is said so on the resource, and forgotten when it is back."""
    service = ("-n", platform.SYSTEM, "patch", platform.STORE, "--type=merge", "-p")
    selector = kube("-n", platform.SYSTEM, "get", platform.STORE, "-o", "jsonpath={.spec.selector}")
    nobody = dict.fromkeys(json.loads(selector), "nobody")
    kube(*service, json.dumps({"spec": {"selector": nobody}}))
    try:
        kube.apply(resources.corpus(space, "s3://mens/outage/"))
        wait_for("menscorpus", "corpus", "StorageReady", "StorageUnreachable")
    finally:
        kube(*service, json.dumps({"spec": {"selector": json.loads(selector)}}))
    wait_for("menscorpus", "corpus", "StorageReady", "StorageReady")


def test_unknown_license_stops_before_training(
    kube: kubectl.Kubectl, storage: platform.Storage, space: str, wait_for: Any, tmp_path: Path
) -> None:
    """A base whose licence text nobody reviewed is not trained on."""
    models.tiny(tmp_path, seed=3)
    terms = tmp_path / "TERMS"
    terms.write_text("You may do whatever Bob likes.\n")
    uri = f"s3://mens/models/unknown-{space}"
    upstream = platform.Upstream("tiny", "mens/unknown", "1")
    platform.import_model(storage, tmp_path, uri, upstream, terms, "--allow-unknown")
    kube.apply(resources.train_run(space, uri))
    found = wait_for("menstrainrun", "run", "LicenseCleared", "LicenseUnknown")
    assert kube("-n", space, "get", "jobs", "-o", "name").strip() == ""
    assert "jobName" not in found["status"]


def test_pickle_is_refused(
    kube: kubectl.Kubectl, target: s3.S3Store, space: str, wait_for: Any
) -> None:
    """A model folder with a pickle file is refused by name, before any byte of it is read."""
    uri = f"s3://mens/models/pickle-{space}"
    target.put_bytes(refs.Uri.parse(f"{uri}/config.json"), b"{}")
    target.put_bytes(refs.Uri.parse(f"{uri}/pytorch_model.bin"), b"\x80\x04.")
    kube.apply(resources.train_run(space, uri))
    found = wait_for("menstrainrun", "run", "Validated", "PickleRefused")
    assert "pytorch_model.bin" in _message(found, "Validated")


def test_gpu_that_no_node_has(
    kube: kubectl.Kubectl, target: s3.S3Store, space: str, wait_for: Any
) -> None:
    """A request that nothing can meet is mirrored in the scheduler's words."""
    for number in range(4):
        text = resources.functions(3).replace("add_", f"gpu_{number}_")
        target.put_bytes(refs.Uri.parse(f"s3://mens/gpu/{space}/m{number}.py"), text.encode())
    manifest = resources.corpus(space, f"s3://mens/gpu/{space}/")
    manifest["spec"]["resources"]["gpu"] = {"count": 8}
    kube.apply(manifest)
    found = wait_for("menscorpus", "corpus", "Running", "Unschedulable")
    assert "nvidia.com/gpu" in _message(found, "Running")


def test_rule_refuses_spec(kube: kubectl.Kubectl, space: str) -> None:
    """The API server refuses a spec that breaks a rule and says which."""
    manifest = resources.corpus(space, "s3://mens/x/")
    manifest["spec"]["sources"][0]["git"] = {"url": "https://git.example/x.git", "revision": "main"}
    with pytest.raises(kubectl.DemoError, match="exactly one of: s3, git"):
        kube.apply(manifest)


def test_tampered_manifest_is_noticed(
    kube: kubectl.Kubectl, target: s3.S3Store, base: str, space: str, wait_for: Any
) -> None:
    """An adapter whose manifest has other bytes than its digest says is not served."""
    uri = f"s3://mens/runs/{space}/tampered"
    target.put_bytes(refs.Uri.parse(f"{uri}/manifest.json"), b'{"schema":"mens.artifact/v1"}')
    artifact = {"artifact": {"uri": uri, "digest": "sha256:" + "0" * 64}}
    kube.apply(resources.serve(space, base, artifact))
    found = wait_for("mensserve", "serve", "AdaptersReady", "DigestMismatch")
    assert found["status"]["adapters"][0]["reason"] == "DigestMismatch"
