"""Output of the demo while it runs: headings, one live line, durations of the last run."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from hack.support import durations, progress

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines without a terminal."""


def say(text: str = "") -> None:
    """Prints one line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Line:
    """One line that is rewritten on a terminal, or a plain line every few seconds in a log."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began = self.last = time.monotonic()
        self.shown = ""

    def update(self, text: str) -> None:
        """Shows the current state."""
        now = time.monotonic()
        line = f"    {self.title} {now - self.began:4.0f} s  {text}"
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns
            sys.stdout.write(f"\r\x1b[2K{line[: width - 1]}")
            sys.stdout.flush()
        elif now - self.last >= PLAIN_SECONDS:
            self.last = now
            say(line)

    def end(self) -> None:
        """Clears the live line."""
        if sys.stdout.isatty():
            sys.stdout.write("\r\x1b[2K")
            sys.stdout.flush()


@contextlib.contextmanager
def waiting(title: str, describe: Callable[[], str] = str) -> Iterator[None]:
    """Shows a title, its seconds and what `describe` returns, while another program works."""
    began = time.monotonic()
    with progress.live(lambda: f"{title} {time.monotonic() - began:.0f} s  {describe()}"):
        yield


class Stages:
    """Seconds of each stage, now and in the last run.

    `seconds` can include work that was done before, such as the builds of the setup; what is stored
    and shown is the duration of the stage itself.

    Args:
        order: Names of all stages, for their numbers; empty for stages without numbers.
    """

    def __init__(self, order: Sequence[str] = ()) -> None:
        self.order = tuple(order)
        self.seconds: dict[str, float] = {}
        self.durations = durations.Durations("demo")
        self.measured: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str, title: str) -> Iterator[None]:
        """Announces, runs and times one stage, which can have several parts."""
        last = self.durations.last(name)
        hint = f" (last time {last:.0f} s)" if last else ""
        number = f"{self.order.index(name) + 1} of {len(self.order)}: " if self.order else ""
        say(f"==> {number}{title}{hint}")
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.measured[name] = self.measured.get(name, 0.0) + seconds
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 1)
        say(f"    {seconds:.1f} s")

    def keep(self) -> None:
        """Stores the duration of each stage that did real work, for the next run."""
        for name, seconds in self.measured.items():
            self.durations.remember(name, seconds)
