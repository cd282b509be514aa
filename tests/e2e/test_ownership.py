"""The demo on a cluster that is somebody's: it takes only its own for its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hack.demo import kubectl, ownership

pytestmark = pytest.mark.e2e


@pytest.fixture
def stranger(kube: kubectl.Kubectl) -> Iterator[None]:
    """Somebody upgrades the release by hand; afterwards it is the demo's again."""
    upgrade = ("upgrade", ownership.RELEASE, "charts/mens-operator", "-n", ownership.SYSTEM)
    kube.helm(*upgrade, "--reuse-values", "--description", "Ours since March")
    yield
    kube.helm(*upgrade, "--reuse-values", "--description", ownership.DESCRIPTION)


def test_a_strangers_release_is_left_alone(kube: kubectl.Kubectl, stranger: None) -> None:
    """Neither overwritten by `make demo` nor removed by `make demo-down`."""
    with pytest.raises(kubectl.DemoError, match="Mens already: release mens in namespace mens-sys"):
        ownership.require(kube)
    with pytest.raises(kubectl.DemoError, match="will not overwrite"):
        ownership.remove(kube)
    assert kube.get(ownership.SYSTEM, "deployment", "mens-operator")


def test_a_strangers_namespace_is_left_alone(kube: kubectl.Kubectl) -> None:
    """A namespace `demo` without our mark is not ours; the demo's own release is."""
    ownership.require(kube)
    kube("create", "namespace", ownership.NAMESPACE)
    try:
        with pytest.raises(kubectl.DemoError, match="a namespace demo that the demo did not make"):
            ownership.require(kube)
    finally:
        kube("delete", "namespace", ownership.NAMESPACE)
