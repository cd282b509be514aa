"""What a person sees while the demo works: headings, one live line, durations of the last time."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from hack.support import durations, progress

PLAIN_SECONDS = 10.0
"""Time between two plain lines where there is no terminal."""


def say(text: str = "") -> None:
    """Print one line for a person."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Line:
    """One line that changes on a terminal, and a plain line now and then in a log."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began = self.last = time.monotonic()
        self.shown = ""

    def update(self, text: str) -> None:
        """Show what is happening."""
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
        """Clear the live line."""
        if sys.stdout.isatty():
            sys.stdout.write("\r\x1b[2K")
            sys.stdout.flush()


@contextlib.contextmanager
def waiting(title: str, says: Callable[[], str] = str) -> Iterator[None]:
    """Show a title, its seconds and what `says` returns, while a program of another works."""
    began = time.monotonic()
    with progress.live(lambda: f"{title} {time.monotonic() - began:.0f} s  {says()}"):
        yield


class Stages:
    """Seconds of each stage, and how long it took the last time.

    `seconds` may be given parts that were done before, such as the builds of the setup; what is
    remembered and shown is what the stage itself takes.

    Args:
        order: Names of all stages, which are numbered by it; none are where it is empty.
    """

    def __init__(self, order: Sequence[str] = ()) -> None:
        self.order = tuple(order)
        self.seconds: dict[str, float] = {}
        self.durations = durations.Durations("demo")
        self.measured: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str, says: str) -> Iterator[None]:
        """Announce, run and time one stage; a stage may come in several parts."""
        last = self.durations.last(name)
        hint = f" (last time {last:.0f} s)" if last else ""
        number = f"{self.order.index(name) + 1} of {len(self.order)}: " if self.order else ""
        say(f"==> {number}{says}{hint}")
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.measured[name] = self.measured.get(name, 0.0) + seconds
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 1)
        say(f"    {seconds:.1f} s")

    def keep(self) -> None:
        """Remember for the next run what each stage that did work took."""
        for name, seconds in self.measured.items():
            self.durations.remember(name, seconds)
