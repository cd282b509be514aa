"""How long each step took last time, so that a person knows what to expect."""

import json
from pathlib import Path

from hack.support import paths


def known() -> dict[str, float]:
    """Returns step -> seconds, as measured on this machine."""
    try:
        found: dict[str, float] = json.loads(_file().read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found


def remember(step: str, seconds: float) -> None:
    """Keeps a step's duration; the caller holds the store's lock, so nobody else writes."""
    fresh = _file().with_suffix(".new")
    fresh.write_text(json.dumps({**known(), step: round(seconds, 1)}, indent=1, sort_keys=True))
    fresh.rename(_file())


def _file() -> Path:
    return paths.cache() / "images" / "durations.json"
