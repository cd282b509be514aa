"""The files and command lines the tool writes, as goldens."""

import json
from pathlib import Path

from hack.cluster import controlplane, dns, kwok, node, sandbox
from tests.cluster_tool.conftest import Matches

RUN = Path("/run/mens/x")
SCRATCH = Path("/cache/scratch/x")
NODE = node.Node("x", "mens", RUN, SCRATCH, Path("/cache/containerd"), "localhost/mens/pause:0")


def test_containerd_configuration(matches_golden: Matches) -> None:
    """containerd never lowers OOM scores and keeps its store in the cache."""
    matches_golden("containerd.toml", NODE.containerd("/usr/lib/cni", "/usr/sbin/runc"))


def test_kubelet_configuration(matches_golden: Matches) -> None:
    """kubelet stays in the cluster's own control group and never collects images."""
    matches_golden("kubelet.json", json.dumps(NODE.kubelet(), indent=1) + "\n")


def test_pod_network(matches_golden: Matches) -> None:
    """Pods sit on one bridge without an uplink."""
    matches_golden("cni.json", json.dumps(NODE.cni(), indent=1) + "\n")


def test_corefile(matches_golden: Matches) -> None:
    """The cluster's names have a block of their own; all others get an answer at once."""
    matches_golden("Corefile", dns.corefile(RUN / "pki"))


def test_command_lines(matches_golden: Matches) -> None:
    """Every component's flags, one per line."""
    plane = controlplane.ControlPlane(RUN / "pki", SCRATCH / "etcd")
    lines = []
    for component in controlplane.COMPONENTS:
        lines += [component, *(f"  {flag}" for flag in plane.flags(component))]
    lines += ["kubelet", *(f"  {flag}" for flag in NODE.kubelet_flags())]
    lines += ["kube-proxy", *(f"  {flag}" for flag in NODE.proxy_flags(masquerade_all=False))]
    matches_golden("flags.txt", "\n".join(lines) + "\n")


def test_extra_flags_come_last() -> None:
    """A caller's flags win, since components take the last of two."""
    plane = controlplane.ControlPlane(RUN, SCRATCH, {"etcd": ["--log-level=debug"]})
    assert plane.flags("etcd")[-1] == "--log-level=debug"


def test_kwok_stages_are_named_once() -> None:
    """kwok refuses two stages of one name."""
    names = [each["metadata"]["name"] for each in kwok.stages()]
    assert len(names) == len(set(names))


def test_enter_joins_every_namespace_of_the_sandbox() -> None:
    """A command inside sees the sandbox's processes, mounts, network, queues and host name."""
    assert sandbox.enter(7) == ["nsenter", "-t", "7", "-m", "-n", "-p", "-i", "-u", "--"]
