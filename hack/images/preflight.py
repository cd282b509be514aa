"""Says what this machine lacks for building images, before anything starts."""

import os
import shutil
from pathlib import Path

from hack.cluster import paths
from hack.cluster.preflight import Capability

GB = 10**9

HEAVY_DISK = 22 * GB
"""Free space for building the heavy layer: 20 GB at its peak, 5 GB afterwards (measured)."""

UV_CACHE_DISK = 6 * GB
"""More where the packages are not in uv's cache yet."""

CODE_DISK = 3 * GB
"""Free space for base and code layers."""


def check(*, heavy: bool) -> list[Capability]:
    """Looks at what building needs.

    Args:
        heavy: Whether the heavy layer is to be built too.
    """
    found = [_root(), _program("buildah"), _program("mmdebstrap"), _overlay()]
    return [*found, disk(_free(paths.cache()), _needed(heavy=heavy))]


def disk(free: int, needed: int) -> Capability:
    """Compares free space with what is needed."""
    said = f"{free / GB:.0f} GB free in {paths.cache()}, {needed / GB:.0f} GB needed"
    fix = "" if free >= needed else "free some space, or set MENS_CACHE to a larger disk"
    return Capability("disk for images", free >= needed, said, fix)


def _needed(*, heavy: bool) -> int:
    if not heavy:
        return CODE_DISK
    cached = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    return HEAVY_DISK + (0 if (cached / "archive-v0").exists() else UV_CACHE_DISK)


def _free(folder: Path) -> int:
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    return shutil.disk_usage(existing).free


def _root() -> Capability:
    ok = os.geteuid() == 0
    return Capability("root", ok, f"user id {os.geteuid()}", "" if ok else "run as root")


def _program(name: str) -> Capability:
    path = shutil.which(name)
    fix = "" if path else f"apt-get install --no-install-recommends {name}"
    return Capability(name, path is not None, path or "not installed", fix)


def _overlay() -> Capability:
    ok = "overlay" in Path("/proc/filesystems").read_text() or bool(shutil.which("modprobe"))
    said = "known to the kernel" if ok else "the kernel has no overlayfs"
    return Capability("overlayfs", ok, said, "" if ok else "use a kernel with overlayfs")
