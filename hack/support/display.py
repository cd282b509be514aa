"""Progress of steps that run side by side: a block of live lines, or plain lines in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

QUIET_SECONDS = 15.0
"""Seconds between two blocks of plain lines without a terminal."""
LIVE_SECONDS = 0.5
"""Time between two updates of the live block on a terminal."""


class Display:
    """A block of lines, one per step, redrawn in place on a terminal.

    In a log the same lines are printed every 15 s: a CI log shows as much as a terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._block: list[str] = []
        self._last = time.monotonic()

    def say(self, line: str) -> None:
        """Prints permanent lines above the live block."""
        self._draw(f"{line}\n", self._block)

    def show(self, lines: Callable[[], Sequence[str]]) -> None:
        """Shows the current state, if enough time has passed.

        Args:
            lines: Returns a line per step; called only when they are shown.
        """
        now = time.monotonic()
        if now - self._last < (LIVE_SECONDS if self._terminal else QUIET_SECONDS):
            return
        self._last = now
        if not self._terminal:
            self._write("".join(f"{line}\n" for line in lines()))
            return
        # A line that wraps, or a block higher than the terminal, could not be erased again.
        size = shutil.get_terminal_size()
        cut = [line[: size.columns - 1] for line in lines()[: size.lines - 1]]
        self._draw("", cut)

    def clear(self) -> None:
        """Erases the live block."""
        self._draw("", [])

    def _draw(self, stays: str, block: list[str]) -> None:
        erase = f"\x1b[{len(self._block)}A\r\x1b[J" if self._block else ""
        self._block = block
        self._write(erase + stays + "".join(f"{line}\n" for line in block))

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
