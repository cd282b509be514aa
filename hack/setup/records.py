"""The result of the last setup of this checkout, which the tiers and the demo read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from hack.support import paths

PATH = paths.REPOSITORY / "out" / "setup.json"
"""The file; valid only for a command that runs right after the setup."""


@dataclasses.dataclass(frozen=True)
class Record:
    """The result of one setup."""

    began: float = 0.0
    """When it began, in seconds since 1970."""
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Step -> seconds, of those that succeeded."""
    broken: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Tier -> which of its steps failed, although this machine allows it."""
    lacking: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Tier -> what this machine lacks for it; its steps were skipped."""


NONE = Record()
"""No setup ran: nothing is known."""


def write(record: Record, path: Path | None = None) -> None:
    """Replaces the record of the previous setup."""
    path = path or PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    fresh.replace(path)


def read(path: Path | None = None) -> Record:
    """Returns the record, or an empty one."""
    try:
        return Record(**json.loads((path or PATH).read_text()))
    except (OSError, ValueError, TypeError):
        return NONE


def seconds_since(began: float, path: Path | None = None) -> Mapping[str, float]:
    """Returns step -> seconds of a setup that began at `began` or later; empty for an older one.

    Steps run side by side: their sum is more than the elapsed time.
    """
    record = read(path)
    return record.seconds if record.began >= began else {}
