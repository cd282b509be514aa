"""Disk space: the needs of all steps are added up for each file system."""

import dataclasses
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

GB = 10**9


@dataclasses.dataclass(frozen=True)
class Need:
    """Disk space for one thing that does not exist yet."""

    what: str
    """What it is, in a few words."""

    folder: Path
    """Where it will be; does not have to exist."""

    peak: int
    """Bytes while it is made; 0 for what is only needed after everything is made."""

    kept: int
    """Bytes after everything is made."""


def shortfalls(
    needs: Iterable[Need], free: Callable[[Path], tuple[int, int]] | None = None
) -> list[str]:
    """Returns a sentence for each file system that is too small; equal needs count once.

    Everything is made at the same time, so a file system needs the sum of all peaks, and later the
    sum of what is kept.

    Args:
        needs: What is missing, and what runs afterwards.
        free: Folder -> number of its file system and free bytes there.
    """
    by_system: dict[int, list[Need]] = {}
    room: dict[int, int] = {}
    for need in dict.fromkeys(needs):
        system, room_there = (free or _free)(need.folder)
        by_system.setdefault(system, []).append(need)
        room[system] = room_there
    return [
        f"{room[system] / GB:.0f} GB free at {found[0].folder}, {_sum(found) / GB:.0f} GB needed: "
        + ", ".join(f"{need.what} {max(need.peak, need.kept) / GB:.0f}" for need in found)
        for system, found in by_system.items()
        if room[system] < _sum(found)
    ]


def existing(path: Path) -> Path:
    """Returns the nearest existing folder, which is on the same file system as the path."""
    return next(one for one in (path, *path.parents) if one.exists())


def _sum(needs: list[Need]) -> int:
    return max(sum(need.peak for need in needs), sum(need.kept for need in needs))


def _free(folder: Path) -> tuple[int, int]:
    there = existing(folder)
    return there.stat().st_dev, shutil.disk_usage(there).free
