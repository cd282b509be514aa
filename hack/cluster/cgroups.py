"""The control groups under which a cluster's pods run: version 1, 2 and the mixed layout."""

import contextlib
import time
from pathlib import Path

CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io")
"""What kubelet needs enabled below the root of a version 2 hierarchy."""


def hierarchies(mounts: str) -> list[Path]:
    """Reads the mount points of all cgroup hierarchies from the text of /proc/mounts."""
    fields = (line.split() for line in mounts.splitlines())
    return [Path(found[1]) for found in fields if found[2] in ("cgroup", "cgroup2")]


def name_for(cluster: str) -> str:
    """Returns the name of a cluster's group in every hierarchy."""
    return f"mens-{cluster}"


def create(cluster: str) -> None:
    """Makes the cluster's group in every hierarchy."""
    for root in _mounted():
        if (root / "cgroup.controllers").exists():
            _enable(root)
        group = root / name_for(cluster)
        group.mkdir(exist_ok=True)
        # A version 1 cpuset starts empty and takes no process before it has both.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (root / name).exists() and not (root / "cgroup.controllers").exists():
                (group / name).write_text((root / name).read_text())


def remove(cluster: str, seconds: float = 10) -> list[Path]:
    """Removes the cluster's groups; returns those that could not be removed in time."""
    deadline = time.monotonic() + seconds
    while True:
        left = [group for group in existing(cluster) if not _remove_tree(group)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def existing(cluster: str) -> list[Path]:
    """Returns the cluster's groups that are there now."""
    groups = (root / name_for(cluster) for root in _mounted())
    return [group for group in groups if group.exists()]


def _remove_tree(group: Path) -> bool:
    try:
        for child in list(group.iterdir()):
            if child.is_dir():
                _remove_tree(child)
        group.rmdir()
    except OSError:
        return not group.exists()
    return True


def _enable(root: Path) -> None:
    for controller in CONTROLLERS:
        with contextlib.suppress(OSError):
            (root / "cgroup.subtree_control").write_text(f"+{controller}")


def _mounted() -> list[Path]:
    return hierarchies(Path("/proc/mounts").read_text())
