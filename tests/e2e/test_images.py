"""Every image runs as the cluster will run it: as nobody special, on a root it cannot write."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hack import images
from hack.cluster import Cluster
from hack.support import errors

pytestmark = pytest.mark.e2e

NAMESPACE = "images"

LOOK = """
import importlib.metadata, importlib.util, os, pathlib, sys
print(os.getuid(), importlib.metadata.version("mens"), os.environ["HOME"])
try:
    pathlib.Path(sys.prefix, "x").write_text("x")
except OSError as error:
    print(error.strerror)
import MODULE
print(pathlib.Path(importlib.util.cache_from_source(MODULE.__file__)).exists())
"""


@pytest.fixture(scope="module")
def references(node_cluster: Cluster) -> dict[str, str]:
    """Today's images, in the cluster."""
    return images.ensure(node_cluster)


@pytest.fixture(scope="module")
def namespace(node_cluster: Cluster) -> Iterator[str]:
    """A namespace that admits only what the restricted standard allows."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": label}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    node_cluster.kubectl_run("apply", "-f", "-", stdin=json.dumps(made))
    yield NAMESPACE
    node_cluster.kubectl_run("delete", "namespace", NAMESPACE, "--wait=false")


def pod(name: str, image: str, command: list[str]) -> dict[str, Any]:
    """A pod with everything taken away that can be."""
    container = {
        "name": "it",
        "image": image,
        "imagePullPolicy": "Never",
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def run(cluster: Cluster, name: str, image: str, command: list[str]) -> str:
    """Run a pod to its end and return what it printed; it must end well."""
    cluster.kubectl_run("apply", "-f", "-", stdin=json.dumps(pod(name, image, command)))
    deadline = time.monotonic() + 120
    phase = ""
    while time.monotonic() < deadline and phase not in ("Succeeded", "Failed"):
        path = "jsonpath={.status.phase}"
        phase = cluster.kubectl_run("get", "pod", "-n", NAMESPACE, name, "-o", path)
        time.sleep(0.3)
    try:
        said = cluster.kubectl_run("logs", "-n", NAMESPACE, name)
    except errors.ToolError as error:
        said = str(error)
    described = cluster.kubectl_run("describe", "pod", "-n", NAMESPACE, name)
    assert phase == "Succeeded", f"{said}\n{described}"
    return said


@pytest.mark.parametrize("program", ["operator", "corpus", "trainer", "server"])
def test_image_holds_its_program(
    node_cluster: Cluster, references: dict[str, str], namespace: str, program: str
) -> None:
    """Uid 10001, version known, nothing writable but /tmp, bytecode there already."""
    look = LOOK.replace("MODULE", f"mens_{program}")
    image = references[f"mens-{program}"]
    said = run(node_cluster, f"look-{program}", image, ["python", "-c", look]).splitlines()
    assert said[0].split()[::2] == ["10001", "/tmp"]
    assert said[1:] == ["Read-only file system", "True"]


@pytest.mark.parametrize("program", ["operator", "corpus", "trainer", "server"])
def test_image_says_how_it_is_used(
    node_cluster: Cluster, references: dict[str, str], namespace: str, program: str
) -> None:
    """The `mens` command answers --help, and so does each program that people call."""
    image = references[f"mens-{program}"]
    # The operator has no arguments: its settings come from the chart.
    own = [] if program == "operator" else [f"python -m mens_{program} --help"]
    script = " && ".join(["mens --help", *own])
    said = run(node_cluster, f"help-{program}", image, ["sh", "-c", script])
    assert said.count("usage:") == 1 + len(own)


def test_heavy_layer_computes(
    node_cluster: Cluster, references: dict[str, str], namespace: str
) -> None:
    """The trainer's libraries import and quantize a matrix on a root they cannot write."""
    script = (
        "import torch, transformers, peft, bitsandbytes.functional as f;"
        "q, s = f.quantize_4bit(torch.eye(64), quant_type='nf4');"
        "print(f.dequantize_4bit(q, s).trace().item())"
    )
    said = run(node_cluster, "heavy", references["mens-trainer"], ["python", "-c", script])
    assert float(said.splitlines()[-1]) == pytest.approx(64.0)


def test_dev_store_starts(
    node_cluster: Cluster, references: dict[str, str], namespace: str
) -> None:
    """SeaweedFS answers with its version."""
    said = run(node_cluster, "store", references["mens-dev-store"], ["weed", "version"])
    assert "version" in said


def test_heavy_layer_is_shared(references: dict[str, str]) -> None:
    """Trainer and server stand on the same layer: built once, unpacked once."""
    from hack.images import buildah  # noqa: PLC0415  (only here)

    with buildah.opened() as store:
        trainer = store.image(references["mens-trainer"])
        server = store.image(references["mens-server"])
    shared = [one.folder for one in trainer.layers if one in server.layers]
    assert len(shared) >= 3
    assert len(trainer.layers) - len(shared) == 1


def test_second_time_does_nothing(node_cluster: Cluster, references: dict[str, str]) -> None:
    """What is there is neither built nor imported again."""
    # Once more first: somebody may have edited sources since the fixture built them.
    first = images.run(node_cluster, list(references))
    second = images.run(node_cluster, list(references))
    assert second.references == first.references
    assert second.seconds == {}
