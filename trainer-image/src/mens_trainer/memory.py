"""How much memory there is and how much is used."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def peak_rss() -> int:
    """Most resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def rss() -> int:
    """Resident bytes of this process now; 0 where /proc does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def limit(cgroup: Path = _CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes this process may use: the cgroup's limit or the machine's memory, the smaller one."""
    found = []
    with contextlib.suppress(OSError):  # no cgroup v2 here
        text = cgroup.read_text().strip()
        found += [int(text)] if text.isdigit() else []
    with contextlib.suppress(OSError, IndexError):  # not Linux
        found.append(int(meminfo.read_text().split("MemTotal:")[1].split()[0]) * 1024)
    return min(found, default=None)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's own, or torch's and the kernel's."""
    if not isinstance(error, RuntimeError | OSError):
        return isinstance(error, MemoryError)
    words = str(error).lower()
    return any(
        said in words
        for said in ("out of memory", "can't allocate memory", "cannot allocate memory")
    )
