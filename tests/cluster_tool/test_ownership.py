"""What the demo takes for its own on somebody's cluster: asked of a real API server and Helm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster import clusters
from hack.demo import kubectl, ownership, platform
from hack.support import wait

pytestmark = pytest.mark.cluster

CHART = "apiVersion: v2\nname: mens-operator\nversion: 0.0.1\n"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: never-ready}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec: {containers: [{name: x, image: localhost/none:1}]}
"""


@pytest.fixture
def kube(control_plane: clusters.Cluster) -> Iterator[kubectl.Kubectl]:
    """A cluster without Mens, before and after."""
    found = kubectl.Kubectl(control_plane.kubeconfig, control_plane.kubectl, control_plane.helm)
    yield found
    for release in ownership.releases(found):
        found.helm("uninstall", release["name"], "-n", release["namespace"])
    found("delete", "namespace", ownership.SYSTEM, ownership.NAMESPACE, "--ignore-not-found")


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart of our name whose only pod is never ready: this cluster has no node."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text(CHART)
    (tmp_path / "templates" / "deployment.yaml").write_text(DEPLOYMENT)
    return tmp_path


def upgrade(chart: Path, *more: str) -> list[str]:
    return ["upgrade", "--install", ownership.RELEASE, str(chart), "-n", ownership.SYSTEM, *more]


def interrupted(kube: kubectl.Kubectl, chart: Path, state: str) -> None:
    """An upgrade whose Helm is killed while it waits."""
    command = [str(kube.helm_path), *upgrade(chart, "--wait", "--timeout", "60s")]
    environ = {"KUBECONFIG": str(kube.kubeconfig), "HOME": str(chart)}
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as helm:
        wait.until(state, lambda: states(kube) == [state], 30)
        helm.kill()


def states(kube: kubectl.Kubectl) -> list[str]:
    return [release["status"] for release in ownership.releases(kube)]


@pytest.mark.parametrize("name", [ownership.SYSTEM, ownership.NAMESPACE])
def test_a_namespace_without_our_label_is_neither_used_nor_deleted(
    kube: kubectl.Kubectl, name: str
) -> None:
    """A namespace of our name that lacks our mark is somebody's."""
    kube("create", "namespace", name)
    for refusing in (ownership.require, ownership.remove):
        with pytest.raises(kubectl.DemoError, match=f"a namespace {name} that the demo did not"):
            refusing(kube)
    assert kube.get("", "namespace", name)


def test_a_failed_install_is_still_ours(kube: kubectl.Kubectl, chart: Path) -> None:
    """Helm writes its reason over the description; demo and demo-down know the release anyway."""
    ownership.claim(kube, ownership.SYSTEM)
    with pytest.raises(kubectl.DemoError, match="not ready"):
        kube.helm(*upgrade(chart, "--wait", "--timeout", "1s"))
    assert states(kube) == ["failed"]
    ownership.require(kube)
    ownership.remove(kube)
    assert states(kube) == []
    assert kube.get("", "namespace", ownership.SYSTEM) is None


def test_an_interrupted_install_does_not_block_the_next(kube: kubectl.Kubectl, chart: Path) -> None:
    """The first one is taken away, a later one is rolled back; both are ours all the time."""
    ownership.claim(kube, ownership.SYSTEM)
    interrupted(kube, chart, "pending-install")
    ownership.require(kube)
    platform.settle(kube)
    assert states(kube) == []
    kube.helm(*upgrade(chart, "--description", ownership.DESCRIPTION))
    interrupted(kube, chart, "pending-upgrade")
    ownership.require(kube)
    platform.settle(kube)
    assert states(kube) == ["deployed"]
    ownership.require(kube)
    kube.helm(*upgrade(chart, "--description", ownership.DESCRIPTION))


def test_a_release_that_somebody_took_over_is_theirs(kube: kubectl.Kubectl, chart: Path) -> None:
    """An upgrade by hand changes what the release says of itself."""
    ownership.claim(kube, ownership.SYSTEM)
    kube.helm(*upgrade(chart, "--description", "Ours since March"))
    with pytest.raises(kubectl.DemoError, match="Mens already: release mens in namespace mens-sys"):
        ownership.require(kube)
    with pytest.raises(kubectl.DemoError, match="will not overwrite"):
        ownership.remove(kube)
    assert states(kube) == ["deployed"]
    assert json.loads(kube("get", "deployments", "-A", "-o", "json"))["items"]
