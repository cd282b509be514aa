"""How long each step took the last time: the one store of durations, in the cache."""

from __future__ import annotations

import json
from pathlib import Path

from hack.support import locks, paths

WORK_SECONDS = 5.0
"""A shorter step found its result in a cache: its duration must not replace that of real work."""


class Durations:
    """Step -> seconds of one area. All areas share one file, `durations.json` in the cache.

    Args:
        area: What the steps belong to, such as `images`.
        minimum: A shorter duration is not stored; 0 for steps that run only when there is work.
    """

    def __init__(self, area: str, minimum: float = WORK_SECONDS) -> None:
        self.area = area
        self.minimum = minimum

    def last(self, step: str) -> float | None:
        """Returns the seconds of the last run; None before the first one on this machine."""
        return _read(_file()).get(f"{self.area}/{step}")

    def remember(self, step: str, seconds: float) -> None:
        """Stores a duration. Processes that run side by side wait for each other."""
        if seconds < self.minimum:
            return
        path = _file()
        with locks.held(path.with_suffix(".lock")):
            known = {**_read(path), f"{self.area}/{step}": round(seconds, 1)}
            new = path.with_suffix(".new")
            new.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            new.replace(path)


def _file() -> Path:
    return paths.cache() / "durations.json"


def _read(path: Path) -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found
