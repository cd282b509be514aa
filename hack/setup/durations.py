"""How long each step took when it last did real work, so that a person knows what to expect."""

from __future__ import annotations

import json
from pathlib import Path

WORK_SECONDS = 5.0
"""What is done sooner has found its result in a cache: the real duration must survive that."""


class Durations:
    """Step -> seconds, in a file that nothing else writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.seconds: dict[str, float] = json.loads(path.read_text())
        except (OSError, ValueError):
            self.seconds = {}

    def last(self, name: str) -> float | None:
        """Seconds of the last time, None when it has never done work here."""
        return self.seconds.get(name)

    def remember(self, name: str, seconds: float) -> None:
        """Keep a duration, unless it is that of a look into a cache."""
        if seconds < WORK_SECONDS:
            return
        self.seconds[name] = round(seconds, 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self.seconds, indent=1, sort_keys=True) + "\n")
        fresh.replace(self.path)
