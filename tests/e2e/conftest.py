"""One cluster with the platform installed, for all end-to-end tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack import images
from hack.cluster import clusters
from hack.demo import kubectl, ownership, platform
from mens.artifacts import s3
from tests.e2e import demo_run, resources
from tests.support import models


@pytest.fixture(scope="session")
def kube(node_cluster: clusters.Cluster) -> Iterator[kubectl.Kubectl]:
    """kubectl on a cluster where the platform is installed from the chart.

    On a cluster that is somebody's it overwrites no Mens of theirs, and leaves none of ours.
    """
    found = kubectl.Kubectl(node_cluster.kubeconfig, node_cluster.kubectl, node_cluster.helm)
    theirs = node_cluster.kind is not clusters.Kind.EMBEDDED
    if theirs:
        ownership.require(found)
    platform.install(found, images.ensure(node_cluster))
    yield found
    if theirs:
        ownership.remove(found)


@pytest.fixture(scope="session")
def storage(kube: kubectl.Kubectl) -> Iterator[platform.Storage]:
    """The store inside the cluster."""
    with platform.storage(kube) as opened:
        yield opened


@pytest.fixture(scope="session")
def target(storage: platform.Storage) -> s3.S3Store:
    """A client of the store inside the cluster."""
    return storage.store


@pytest.fixture(scope="session")
def demo(node_cluster: clusters.Cluster, kube: kubectl.Kubectl) -> Iterator[demo_run.DemoRun]:
    """The demo, which runs in the background from the first use on."""
    with pytest.MonkeyPatch.context() as patch:
        found = demo_run.DemoRun(node_cluster, kube, patch)
        yield found
        found.remove()


@pytest.fixture(scope="session")
def beside_the_demo(request: pytest.FixtureRequest) -> None:
    """Starts the demo now if a selected test needs it, so that it computes while others wait."""
    if any("printed" in _fixtures(item) for item in request.session.items):
        request.getfixturevalue("demo")


@pytest.fixture(scope="session")
def printed(demo: demo_run.DemoRun) -> str:
    """What the demo printed until its end."""
    return demo.printed()


@pytest.fixture
def alone(request: pytest.FixtureRequest) -> None:
    """For a test that disturbs everything else on the cluster: the demo ends before."""
    if any("printed" in _fixtures(item) for item in request.session.items):
        request.getfixturevalue("printed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for the demo come last: the others run beside it."""
    items.sort(key=lambda item: not {"printed", "alone"}.isdisjoint(_fixtures(item)))


def _fixtures(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


@pytest.fixture(scope="session")
def base(storage: platform.Storage, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random model with a license, imported as a base."""
    return import_tiny(storage, tmp_path_factory.mktemp("base"), "tiny", seed=1)


def import_tiny(storage: platform.Storage, folder: Path, name: str, *, seed: int) -> str:
    """Make a tiny random model and import it; its URI."""
    models.tiny(folder, seed=seed)
    uri = f"s3://mens/models/{name}"
    upstream = platform.Upstream("tiny", f"mens/{name}", "1")
    platform.import_model(storage, folder, uri, upstream, resources.LICENSE)
    return uri


@pytest.fixture
def space(kube: kubectl.Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, deleted afterwards."""
    name = f"t{abs(hash(request.node.name)) % 10**6}-{int(time.time()) % 10**5}"
    platform.add_namespace(kube, name)
    yield name
    kube("delete", "namespace", name, "--wait=false")


Wait = Callable[[str, str, str, str], dict[str, Any]]


@pytest.fixture
def wait_for(kube: kubectl.Kubectl, space: str) -> Wait:
    """Wait until a condition of a resource has a reason; the whole resource."""

    def wait(kind: str, name: str, condition: str, reason: str) -> dict[str, Any]:
        found = awaited(kube, (space, kind, name), condition, reason, 150)
        assert kubectl.condition_of(found, condition).get("reason") == reason, (
            f"{kind}/{name}: {condition} never got the reason {reason}; "
            f"conditions: {found.get('status', {}).get('conditions')}"
        )
        return found

    return wait


def awaited(
    kube: kubectl.Kubectl,
    what: tuple[str, str, str],
    condition: str,
    reason: str,
    seconds: float,
) -> dict[str, Any]:
    """A resource once a condition of it has a reason, or as it is when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = kube.get(*what) or {}
        if kubectl.condition_of(found, condition).get("reason") == reason:
            return found
        if time.monotonic() > deadline:
            return found
        time.sleep(0.5)
