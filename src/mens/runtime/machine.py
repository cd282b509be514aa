"""The machine's limits for the process of a pod; trainer and server size their work by them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")
_MEMINFO: Final = Path("/proc/meminfo")


def memory_limit(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int | None:
    """Return the bytes that this process may use: the lower of cgroup limit and total memory."""
    found = []
    with contextlib.suppress(OSError, ValueError):  # "max", or the machine has no cgroup v2
        found.append(int(cgroup.read_text()))
    with contextlib.suppress(OSError, IndexError):  # not Linux
        found.append(int(meminfo.read_text().split("MemTotal:")[1].split()[0]) * 1024)
    return min(found, default=None)
