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


COMPUTE = (
    "import torch, transformers, peft, bitsandbytes.functional as f;"
    "q, s = f.quantize_4bit(torch.eye(64), quant_type='nf4');"
    "print(f.dequantize_4bit(q, s).trace().item())"
)
PROGRAMS = ("operator", "corpus", "trainer", "server")


def own_help(program: str) -> list[str]:
    """Help of the program itself; the operator has no arguments, its settings are the chart's."""
    return [] if program == "operator" else [f"python -m mens_{program} --help"]


def commands() -> dict[str, tuple[str, list[str]]]:
    """Pod -> its image and its command."""
    found = {
        "heavy": ("trainer", ["python", "-c", COMPUTE]),
        "store": ("dev-store", ["weed", "version"]),
    }
    for program in PROGRAMS:
        look = LOOK.replace("MODULE", f"mens_{program}")
        found[f"look-{program}"] = (program, ["python", "-c", look])
        script = " && ".join(["mens --help", *own_help(program)])
        found[f"help-{program}"] = (program, ["sh", "-c", script])
    return found


@pytest.fixture(scope="module")
def pods(node_cluster: Cluster, references: dict[str, str], namespace: str) -> None:
    """All pods, which start at once: most of a short pod's time is its start."""
    made = [
        pod(name, references[f"mens-{image}"], command)
        for name, (image, command) in commands().items()
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": made}
    node_cluster.kubectl_run("apply", "-f", "-", stdin=json.dumps(listed))


def output(cluster: Cluster, name: str) -> str:
    """Waits until a pod has ended and returns what it printed; it must succeed."""
    deadline = time.monotonic() + 240
    phase = ""
    while time.monotonic() < deadline and phase not in ("Succeeded", "Failed"):
        path = "jsonpath={.status.phase}"
        phase = cluster.kubectl_run("get", "pod", "-n", NAMESPACE, name, "-o", path)
        time.sleep(0.3)
    try:
        printed = cluster.kubectl_run("logs", "-n", NAMESPACE, name)
    except errors.ToolError as error:
        printed = str(error)
    described = cluster.kubectl_run("describe", "pod", "-n", NAMESPACE, name)
    assert phase == "Succeeded", f"{printed}\n{described}"
    return printed


@pytest.mark.usefixtures("pods")
@pytest.mark.parametrize("program", PROGRAMS)
def test_image_contains_its_program(node_cluster: Cluster, program: str) -> None:
    """Uid 10001, version known, nothing writable but /tmp, bytecode there already."""
    lines = output(node_cluster, f"look-{program}").splitlines()
    assert lines[0].split()[::2] == ["10001", "/tmp"]
    assert lines[1:] == ["Read-only file system", "True"]


@pytest.mark.usefixtures("pods")
@pytest.mark.parametrize("program", PROGRAMS)
def test_image_explains_its_usage(node_cluster: Cluster, program: str) -> None:
    """The `mens` command answers --help, and so does each program that users call."""
    printed = output(node_cluster, f"help-{program}")
    assert printed.count("usage:") == 1 + len(own_help(program))


@pytest.mark.usefixtures("pods")
def test_heavy_layer_computes(node_cluster: Cluster) -> None:
    """The trainer's libraries import and quantize a matrix on a root they cannot write."""
    printed = output(node_cluster, "heavy")
    assert float(printed.splitlines()[-1]) == pytest.approx(64.0)


@pytest.mark.usefixtures("pods")
def test_dev_store_starts(node_cluster: Cluster) -> None:
    """SeaweedFS answers with its version."""
    assert "version" in output(node_cluster, "store")


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
