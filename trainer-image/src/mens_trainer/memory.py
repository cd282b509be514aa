"""Memory usage of this process, and recognizing that memory ran out."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

_OUT_OF_MEMORY_PHRASES: Final = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
)
"""Phrases, in lower case, by which torch and the kernel report that memory ran out."""


def peak_rss() -> int:
    """Return the peak resident set size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def rss() -> int:
    """Return the current resident set size in bytes; 0 where /proc does not exist."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out: Python's own, torch's or the kernel's."""
    if not isinstance(error, RuntimeError | OSError):
        return isinstance(error, MemoryError)
    text = str(error).lower()
    return any(phrase in text for phrase in _OUT_OF_MEMORY_PHRASES)
