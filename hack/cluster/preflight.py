"""Checks before anything starts what this machine lacks, and installs Debian packages."""

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hack.cluster import cgroups, external, gobuild, node, toolsets
from hack.support import errors, paths, progress, space

TIERS = ("unit", "model", "cluster", "node", "kwok", "e2e")
"""What tests and targets need, from nothing to images and whole jobs."""

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
}
"""Program → the Debian package that has it."""

DISK = "disk"
"""Name of the capability that is room on the disk."""

CNI_PACKAGE = "containernetworking-plugins"

VENV_PACKAGE = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
"""Debian leaves ensurepip out of its Python, and without it no virtual environment has a pip."""

_CONTROL_PLANE_PROGRAMS = ("ip", "openssl")
_PROGRAMS = {
    "cluster": _CONTROL_PLANE_PROGRAMS,
    "kwok": _CONTROL_PLANE_PROGRAMS,
    "node": (*_CONTROL_PLANE_PROGRAMS, "containerd", "runc", "nft"),
    "images": ("buildah", "mmdebstrap"),
    "e2e": (*_CONTROL_PLANE_PROGRAMS, "containerd", "runc", "nft", "buildah", "mmdebstrap"),
}

GIB = 2**30

RUN_DISK = {"cluster": space.GB, "kwok": space.GB, "node": 2 * space.GB, "e2e": 6 * space.GB}
"""Free bytes a tier's data needs while it runs; building images is checked by `hack.images`."""

SOURCES_DISK = 3 * space.GB
"""Sources of all Go modules, where Go keeps them."""

BUILD_DISK = 9 * space.GB
"""Compiled packages and programs while they are built."""

BUILT_DISK = space.GB
"""The programs alone: what is compiled goes where the disk is not large."""

RUN_MEMORY = {"model": 4 * GIB, "cluster": GIB, "kwok": 2 * GIB, "node": 2 * GIB, "e2e": 8 * GIB}
BUILD_MEMORY = 3 * GIB
"""Linking the API server takes 2 GB."""


@dataclasses.dataclass(frozen=True)
class Capability:
    """One thing a tier needs, whether it is there, and what to do if not."""

    name: str
    ok: bool
    reason: str
    fix: str = ""


def check(tier: str) -> list[Capability]:
    """Returns everything a tier needs of this machine, in the order to repair it."""
    if tier not in TIERS:
        raise errors.ToolError(f"unknown tier {tier!r}; choose from {', '.join(TIERS)}")
    if tier == "unit":
        return []
    if tier == "model":
        return [_memory(tier, building=False)]
    theirs = _their_cluster()
    if theirs is not None:
        return [theirs]
    return list(_checks(tier))


def require(tier: str) -> None:
    """Installs missing packages where that is possible and raises an error for what remains."""
    install_packages(tier)
    lacking = [each for each in check(tier) if not each.ok]
    if lacking:
        lines = [f"  {each.name}: {each.reason}\n    fix: {each.fix}" for each in lacking]
        raise errors.ToolError(
            "this machine lacks something that the cluster needs:\n" + "\n".join(lines)
        )


def install_packages(*tiers: str) -> None:
    """Installs the tiers' missing Debian packages; does nothing where that is not possible.

    Raises:
        ToolError: apt-get failed; with the end of its output.
    """
    missing = list(dict.fromkeys(each for tier in tiers for each in missing_packages(tier)))
    if not missing or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    with progress.step(f"apt-get install {' '.join(missing)}"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
        for command in (["apt-get", "update"], install):
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, check=False
            )
            if done.returncode != 0:
                raise errors.ToolError(f"{' '.join(command)} failed:\n{done.stderr[-1500:]}")


def missing_packages(
    tier: str,
    which: Callable[[str], str | None] = shutil.which,
    module: Callable[[str], object | None] = importlib.util.find_spec,
) -> list[str]:
    """Returns the Debian packages whose programs a tier needs and does not find."""
    programs = _PROGRAMS.get(tier, ())
    missing = [PACKAGES[program] for program in programs if which(program) is None]
    if module("ensurepip") is None:
        missing.append(VENV_PACKAGE)
    if "containerd" in programs and not _has_cni():
        missing.append(CNI_PACKAGE)
    return missing


def memory_available(meminfo: str) -> int:
    """Reads from the text of /proc/meminfo how many bytes programs can still have."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _checks(tier: str) -> Iterator[Capability]:
    root = os.geteuid() == 0
    who = "root" if root else f"user {os.geteuid()}"
    yield Capability("root", root, f"running as {who}", "run it as root (sudo -E)")
    yield _packages(tier)
    if root:
        yield _namespaces()
    if tier in ("node", "e2e"):
        yield _cgroups()
        yield _overlay()
    building = _unbuilt(tier)
    yield disk(room(tier))
    yield _memory(tier, building)


def _their_cluster() -> Capability | None:
    try:
        cluster = external.find()
    except errors.ToolError as error:
        return Capability("cluster", False, str(error), "unset KUBECONFIG, or repair the cluster")
    if cluster is None:
        return None
    return Capability("cluster", True, f"using {cluster.kubeconfig}")


def _packages(tier: str) -> Capability:
    missing = missing_packages(tier)
    fix = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    reason = f"missing {', '.join(missing)}" if missing else "all programs found"
    return Capability("packages", not missing, reason, fix)


def _namespaces() -> Capability:
    command = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--mount-proc"]
    fix = "use a machine (or a privileged container) that allows new namespaces"
    if shutil.which("unshare") is None:
        return Capability(
            "namespaces", False, "unshare is not installed", "apt-get install util-linux"
        )
    bridge = ["ip", "link", "add", "probe0", "type", "bridge"]
    done = subprocess.run([*command, *bridge], capture_output=True, text=True, check=False)
    reason = done.stderr.strip() or "namespaces and a bridge can be made"
    return Capability("namespaces", done.returncode == 0, reason, fix)


def _cgroups() -> Capability:
    roots = cgroups.hierarchies(Path("/proc/mounts").read_text())
    blocked = [root for root in roots if not os.access(root, os.W_OK)]
    ok = bool(roots) and not blocked
    reason = f"{len(roots)} hierarchies" + (f", not writable: {blocked}" if blocked else "")
    return Capability("cgroups", ok, reason, "mount the control groups writable at /sys/fs/cgroup")


def _overlay() -> Capability:
    ok = "\toverlay" in Path("/proc/filesystems").read_text()
    if not ok and shutil.which("modprobe") is not None:
        ok = (
            subprocess.run(["modprobe", "overlay"], capture_output=True, check=False).returncode
            == 0
        )
    return Capability(
        "overlay", ok, "overlayfs " + ("works" if ok else "missing"), "modprobe overlay"
    )


def _unbuilt(tier: str) -> bool:
    names = toolsets.needed(node=tier in ("node", "e2e"), kwok=tier == "kwok")
    targets = [gobuild.target(toolsets.named(name)) for name in names]
    return not all(target is not None and target.exists() for target in targets)


def room(tier: str) -> list[space.Need]:
    """Returns what a tier still needs on the disk on a cluster of ours: to build it, and to run."""
    needs = [space.Need("running it", paths.cache(), 0, RUN_DISK[tier])]
    if _unbuilt(tier):
        sources = SOURCES_DISK
        needs += [
            space.Need("sources of Go programs", _modules(), sources, sources),
            space.Need("Go programs", paths.cache(), BUILD_DISK, BUILT_DISK),
        ]
    return needs


def _modules() -> Path:
    """Returns the folder where Go keeps the sources of modules."""
    configured = os.environ.get("GOMODCACHE")
    gopath = os.environ.get("GOPATH", "").split(os.pathsep)[0] or Path.home() / "go"
    return Path(configured) if configured else Path(gopath) / "pkg" / "mod"


def disk(needs: Iterable[space.Need]) -> Capability:
    """Compares what is needed with what the file systems have."""
    lacking = space.shortfalls(needs)
    fix = "`make prune`, or set MENS_CACHE to a larger disk"
    return Capability(DISK, not lacking, "; ".join(lacking) or "enough is free", fix)


def _memory(tier: str, building: bool) -> Capability:
    free = memory_available(Path("/proc/meminfo").read_text())
    need = max(RUN_MEMORY[tier], BUILD_MEMORY if building else 0)
    reason = f"{free / GIB:.1f} GiB available, {need / GIB:.0f} needed"
    return Capability("memory", free >= need, reason, "end other programs or use a larger machine")


def _has_cni() -> bool:
    return any((Path(folder) / "bridge").exists() for folder in node.CNI_FOLDERS)
