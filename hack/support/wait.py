"""Waits for a condition, with a deadline instead of a sleep of a guessed length."""

import time
from collections.abc import Callable

from hack.support import errors


def until(what: str, ready: Callable[[], bool], seconds: float, interval: float = 0.1) -> None:
    """Polls until `ready` returns true.

    Raises:
        ToolError: The deadline passed; `ready` may raise an error of its own to end earlier.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise errors.ToolError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(interval)
