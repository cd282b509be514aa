"""The pytest plugin: clusters for a session, a namespace for a test.

A test names the smallest cluster that can prove its fact: `control_plane` (objects only, about
5 s once), `kwok_cluster` (a thousand pods that only pretend), `node_cluster` (pods really run).
Where the machine cannot, the tests skip and say why; the tier runner reports that.
"""

import os
import secrets
from collections.abc import Callable, Iterator

import pytest

from hack.cluster import clusters, external, lifecycle, preflight
from hack.support import errors

MakeNamespace = Callable[[clusters.Cluster], str]
"""Makes a namespace in any cluster; it is deleted when the test ends."""

_CLUSTERS = ("node_cluster", "kwok_cluster", "control_plane")
"""The fixtures `namespace` looks for among those a test uses, the most capable first."""


def pytest_configure() -> None:
    """Keeps every test off the user's own cluster, however pytest was started."""
    external.isolate(os.environ)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[clusters.Cluster]:
    """An API server with its controllers and scheduler, and no node."""
    yield from _session("plane", "cluster", node=False, kwok=False)


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[clusters.Cluster]:
    """A cluster whose one node runs pods for real."""
    yield from _session("node", "node", node=True, kwok=False)


@pytest.fixture(scope="session")
def kwok_cluster() -> Iterator[clusters.Cluster]:
    """A cluster without a node in which kwok answers for as many fake ones as a test adds."""
    yield from _session("kwok", "kwok", node=False, kwok=True)


@pytest.fixture
def namespaces() -> Iterator[MakeNamespace]:
    """Makes namespaces in the cluster it is given; all are deleted afterwards."""
    made: list[tuple[clusters.Cluster, str]] = []

    def make(cluster: clusters.Cluster) -> str:
        name = f"test-{secrets.token_hex(4)}"
        cluster.kubectl_run("create", "namespace", name)
        made.append((cluster, name))
        return name

    yield make
    for cluster, name in made:
        # Without waiting: the name is never used again, and the deletion continues meanwhile.
        cluster.kubectl_run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(request: pytest.FixtureRequest, namespaces: MakeNamespace) -> str:
    """A namespace of its own in the cluster the test uses, or else in `control_plane`."""
    used = next((name for name in _CLUSTERS if name in request.fixturenames), "control_plane")
    return namespaces(request.getfixturevalue(used))


def _session(suffix: str, tier: str, *, node: bool, kwok: bool) -> Iterator[clusters.Cluster]:
    _skip_unless_possible(tier)
    # The process number keeps two test runs on one machine apart.
    lifecycle.end_orphans()
    name = f"test-{os.getpid()}-{suffix}"
    cluster = lifecycle.up(name, node=node, kwok=kwok)
    yield cluster
    if cluster.kind is clusters.Kind.EMBEDDED:
        lifecycle.down(name)


def _skip_unless_possible(tier: str) -> None:
    try:
        preflight.install_packages(tier)
    except errors.ToolError as error:
        pytest.skip(f"{tier} tests cannot run here: {error}")
    lacking = [each for each in preflight.check(tier) if not each.ok]
    if lacking:
        why = "; ".join(f"{each.name}: {each.reason} (fix: {each.fix})" for each in lacking)
        pytest.skip(f"{tier} tests cannot run here: {why}")
