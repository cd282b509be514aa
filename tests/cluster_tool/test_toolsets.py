"""What is built, and under which key it is kept."""

import dataclasses
import re

import pytest

from hack.cluster import toolsets
from hack.support import errors


def test_same_inputs_same_key() -> None:
    """Two calls with the same compiler name the same folder."""
    etcd = toolsets.named("etcd")
    assert etcd.key("go1.26.8") == etcd.key("go1.26.8")


@pytest.mark.parametrize(
    "changed",
    [
        {"ldflags": "-s"},
        {"programs": {"etcd": "somewhere/else"}},
    ],
)
def test_recipe_is_part_of_the_key(changed: dict[str, object]) -> None:
    """Other flags or another package never reuse a program."""
    etcd = toolsets.named("etcd")
    assert dataclasses.replace(etcd, **changed).key("go1.26.8") != etcd.key("go1.26.8")  # type: ignore[arg-type]


def test_compiler_is_part_of_the_key() -> None:
    """Another version of Go builds again."""
    etcd = toolsets.named("etcd")
    assert etcd.key("go1.26.8") != etcd.key("go1.27.3")


@pytest.mark.parametrize("name", toolsets.TOOLSETS)
def test_every_toolset_is_pinned(name: str) -> None:
    """Each module definition comes with its checksums, unless it needs no module at all."""
    sources = {path.name for path in toolsets.named(name).sources()}
    assert "go.mod" in sources
    assert "go.sum" in sources or name == "pause"


def test_server_version_is_the_module_version() -> None:
    """The version stamped into the server is the one its module definition requires."""
    text = next(p for p in toolsets.named("k8s").sources() if p.name == "go.mod").read_text()
    assert re.search(rf"k8s.io/kubernetes {re.escape(toolsets.KUBERNETES)}\b", text)


def test_unknown_toolset_names_the_known_ones() -> None:
    """A typing error is answered with the list."""
    with pytest.raises(errors.ToolError, match="choose from k8s, etcd"):
        toolsets.named("k8")


def test_control_plane_needs_no_node_tools() -> None:
    """Targets build only what they use."""
    assert "coredns" not in toolsets.needed(node=False, kwok=False)
    assert "kwok" not in toolsets.needed(node=True, kwok=False)
