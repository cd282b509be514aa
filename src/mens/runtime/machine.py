"""What the machine gives to the process of a pod; trainer and server plan by it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")
_MEMINFO: Final = Path("/proc/meminfo")


def memory_limit(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int | None:
    """Bytes this process may use: its cgroup's limit or the machine's memory, the smaller one."""
    found = []
    with contextlib.suppress(OSError, ValueError):  # "max", or no cgroup v2 here
        found.append(int(cgroup.read_text()))
    with contextlib.suppress(OSError, IndexError):  # not Linux
        found.append(int(meminfo.read_text().split("MemTotal:")[1].split()[0]) * 1024)
    return min(found, default=None)
