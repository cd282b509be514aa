"""Where the checkout is, and where files are kept between runs."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""The root of the checkout."""


def cache() -> Path:
    """Returns the folder for what takes minutes to make: programs, images, models, durations.

    MENS_CACHE, or ~/.cache/mens. Always absolute: commands that get it run in other folders.
    """
    return Path(os.environ.get("MENS_CACHE") or "~/.cache/mens").expanduser().absolute()
