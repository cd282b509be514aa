"""What a cluster could leave on the machine, and what of it is there now."""

import os
from pathlib import Path

from hack.cluster import cgroups, clusters, folders, mountpoints
from hack.support import processes


def find(name: str) -> list[str]:
    """Returns a sentence for each thing of this cluster that is still on the machine."""
    run, scratch = folders.run(name), folders.scratch(name)
    found = [f"folder {path}" for path in (run, scratch) if path.exists()]
    found += [f"control group {path}" for path in cgroups.existing(name)]
    found += [f"mount {point}" for point in mounts_below(_mounts(), run, scratch)]
    if not clusters.names():
        found += [f"mount point {path}" for path in mountpoints.created() if path.exists()]
    found += [f"process {pid}: {line}" for pid, line in _processes(run, scratch)]
    return found


def sandboxes(name: str) -> list[processes.Process]:
    """Returns the processes above sandboxes of this cluster, also of one that is on no record."""
    lines = _processes(folders.run(name))
    found = [processes.identify(pid) for pid, line in lines if Path(line.split()[0]).name == _ABOVE]
    return [process for process in found if process is not None]


def mounts_below(mounts: str, *folders: Path) -> list[str]:
    """Reads from the text of /proc/mounts which mount points lie in one of the folders."""
    points = [line.split()[1] for line in mounts.splitlines()]
    return [each for each in points if any(Path(each).is_relative_to(top) for top in folders)]


def _mounts() -> str:
    return Path("/proc/mounts").read_text()


def _processes(*folders: Path) -> list[tuple[int, str]]:
    """Finds processes whose command line names one of the cluster's folders."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        # A command that merely looks at the log of a cluster is the user's own, not ours.
        if _COMPONENTS & {Path(word).name for word in line.split()[:12]} and any(
            f"{folder}/" in line for folder in folders
        ):
            found.append((int(entry.name), line[:200]))
    return found


_ABOVE = "unshare"
"""What starts a sandbox and waits for its PID 1."""

_COMPONENTS = {
    "containerd",
    "containerd-shim-runc-v2",
    "coredns",
    "etcd",
    "init.py",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "kwok",
    "relay.py",
    _ABOVE,
}
