"""How much memory is used, and whether it ran out."""

from __future__ import annotations

import resource
from pathlib import Path


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


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's own, or torch's and the kernel's."""
    if not isinstance(error, RuntimeError | OSError):
        return isinstance(error, MemoryError)
    words = str(error).lower()
    return any(
        said in words
        for said in ("out of memory", "can't allocate memory", "cannot allocate memory")
    )
