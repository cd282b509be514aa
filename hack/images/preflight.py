"""Finds what this machine lacks for building images, before anything starts."""

import os
import shutil
from pathlib import Path

from hack.cluster import preflight
from hack.cluster.preflight import Capability
from hack.support import paths, space

HEAVY_DISK = 22 * space.GB
"""Room for building the heavy layer: 20 GB at its peak (measured)."""

HEAVY_KEPT = 6 * space.GB
"""What of it stays."""

UV_CACHE_DISK = 6 * space.GB
"""Packages in uv's cache: builds and the virtual environment take them from there."""

CODE_DISK = 3 * space.GB
"""Room for base and code layers."""


def check(*, heavy: bool) -> list[Capability]:
    """Looks at what building needs.

    Args:
        heavy: Whether the heavy layer is to be built too.
    """
    found = [_root(), _program("buildah"), _program("mmdebstrap"), _overlay()]
    return [*found, preflight.disk(room(heavy=heavy))]


def room(*, heavy: bool) -> list[space.Need]:
    """Returns what building needs on the disk."""
    if not heavy:
        return [space.Need("container images", paths.cache(), CODE_DISK, CODE_DISK)]
    images = space.Need("container images", paths.cache(), HEAVY_DISK, HEAVY_KEPT)
    return [images, *packages()]


def packages() -> list[space.Need]:
    """Returns what uv's cache takes; nothing where the packages are in it already."""
    cache = uv_cache()
    if (cache / "archive-v0").exists():
        return []
    return [space.Need("Python packages", cache, UV_CACHE_DISK, UV_CACHE_DISK)]


def uv_cache() -> Path:
    """Returns the folder in which uv keeps what it has fetched."""
    return Path(os.environ.get("UV_CACHE_DIR") or "~/.cache/uv").expanduser().absolute()


def _root() -> Capability:
    ok = os.geteuid() == 0
    return Capability("root", ok, f"user id {os.geteuid()}", "" if ok else "run as root")


def _program(name: str) -> Capability:
    path = shutil.which(name)
    fix = "" if path else f"apt-get install --no-install-recommends {name}"
    return Capability(name, path is not None, path or "not installed", fix)


def _overlay() -> Capability:
    ok = "overlay" in Path("/proc/filesystems").read_text() or bool(shutil.which("modprobe"))
    reason = "the kernel supports it" if ok else "the kernel does not support overlayfs"
    return Capability("overlayfs", ok, reason, "" if ok else "use a kernel with overlayfs")
