"""How much room on which file system: what everybody needs is added up where it comes to lie."""

import dataclasses
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

GB = 10**9


@dataclasses.dataclass(frozen=True)
class Need:
    """Room for one thing that is not there yet."""

    what: str
    """What it is, for a person."""

    folder: Path
    """Where it comes to lie; need not exist."""

    peak: int
    """Bytes while it is made; 0 for what only comes when all is made."""

    kept: int
    """Bytes once all is made."""


def shortfalls(
    needs: Iterable[Need], free: Callable[[Path], tuple[int, int]] | None = None
) -> list[str]:
    """Returns a sentence for each file system that is too small; equal needs count once.

    Everything is made side by side, so a file system needs all peaks at once, and later what is
    kept of everything.

    Args:
        needs: What is missing, with what runs afterwards.
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
    """Returns the nearest folder that is there: its file system is the one of what comes below."""
    return next(one for one in (path, *path.parents) if one.exists())


def _sum(needs: list[Need]) -> int:
    return max(sum(need.peak for need in needs), sum(need.kept for need in needs))


def _free(folder: Path) -> tuple[int, int]:
    there = existing(folder)
    return there.stat().st_dev, shutil.disk_usage(there).free
