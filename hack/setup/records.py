"""What the last setup of this checkout did: read by the tiers and the demo that follow it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from hack.support import paths

PATH = paths.REPOSITORY / "out" / "setup.json"
"""Where it lies; only who has just run the setup may believe it."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What became of one setup."""

    began: float = 0.0
    """When it began, in seconds since 1970."""
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Step -> how long it took, of those that ended well."""
    broken: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Tier -> what failed of all it needs, though this machine allows it."""
    lacking: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Tier -> what this machine lacks for it, so that its steps were left out."""


NONE = Record()
"""Nothing is broken and nothing is known to be lacking."""


def write(record: Record, path: Path | None = None) -> None:
    """Replace the record of the setup before."""
    path = path or PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    fresh.replace(path)


def read(path: Path | None = None) -> Record:
    """The record; an empty one where there is none."""
    try:
        return Record(**json.loads((path or PATH).read_text()))
    except (OSError, ValueError, TypeError):
        return NONE


def seconds_since(began: float, path: Path | None = None) -> Mapping[str, float]:
    """Step -> seconds of a setup that began at `began` or later; empty when it was an older one.

    Steps run side by side: the sum is more than the time that passed.
    """
    record = read(path)
    return record.seconds if record.began >= began else {}
