"""Runs steps side by side, each after the steps that it needs, and shows their progress.

A step is a command with a process group of its own and its output in a log file. Its last duration
is stored in the cache and shown while it runs. However the run ends, no step outlives it.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from hack.setup import environment
from hack.support import display, durations, interrupts, paths

CLEANING_SECONDS = 15.0
"""How long interrupted steps may take to unmount and delete partial results."""
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colors and cursor movements, which would break the live lines."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One command and the steps that must succeed before it."""

    name: str
    """Short name: of its log, and used by `needs`."""
    summary: str
    """What it makes, in a few words."""
    command: tuple[str, ...]
    """The command, run in the root of the checkout."""
    needs: tuple[str, ...] = ()
    """Names of steps that must have succeeded before."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    seconds: Mapping[str, float]
    """Step -> seconds, of those that succeeded."""
    failed: Mapping[str, str]
    """Step -> why it failed, one sentence."""


@dataclasses.dataclass(frozen=True)
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    since: float
    log: Path


def run(steps: Sequence[Step], *, title: str, optional: Container[str] = ()) -> Outcome:
    """Runs steps until all are done or one that is not optional has failed.

    Args:
        steps: What to run; steps that are not waiting for others run side by side.
        title: Heading of the progress output.
        optional: Steps whose failure does not stop the others.
    """
    return _Run(steps, title, optional).loop()


class _Run:
    def __init__(self, steps: Sequence[Step], title: str, optional: Container[str]) -> None:
        self.waiting = list(steps)
        self.total = len(steps)
        self.title = title
        self.optional = optional
        self.active: list[_Running] = []
        self.seconds: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.logs = paths.cache() / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.durations = durations.Durations("setup")
        self.display = display.Display()
        self.width = max((len(step.summary) for step in steps), default=0)

    def loop(self) -> Outcome:
        began = time.monotonic()
        try:
            while (self.waiting or self.active) and all(n in self.optional for n in self.failed):
                self._start_ready()
                self._collect()
                self.display.show(self._lines)
                time.sleep(0.1)
        finally:
            self.display.clear()
            interrupts.end([one.process for one in self.active], CLEANING_SECONDS)
        seconds = time.monotonic() - began
        if seconds > 2 and not self.failed:
            self.display.say(f"{self.title}: ready after {seconds:.0f} s")
        return Outcome(self.seconds, self.failed)

    def _start_ready(self) -> None:
        for step in [one for one in self.waiting if set(one.needs) <= self.seconds.keys()]:
            self.waiting.remove(step)
            log = self.logs / f"{step.name}.log"
            with log.open("wb") as out, interrupts.deferred():
                process = subprocess.Popen(
                    step.command,
                    cwd=paths.REPOSITORY,
                    # A path relative to the current folder would mean another one there.
                    env={**environment.variables(), "MENS_CACHE": str(paths.cache())},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.active.append(_Running(step, process, time.monotonic(), log))

    def _collect(self) -> None:
        for one in [one for one in self.active if one.process.poll() is not None]:
            self.active.remove(one)
            seconds = time.monotonic() - one.since
            if one.process.returncode != 0:
                self._fail(one)
                continue
            self.seconds[one.step.name] = round(seconds, 1)
            self.durations.remember(one.step.name, seconds)
            if seconds > 2:
                self.display.say(f"  ✓ {one.step.summary}: {seconds:.0f} s")

    def _fail(self, one: _Running) -> None:
        interrupts.end([one.process], 0)  # its processes that still run
        self.failed[one.step.name] = f"{one.step.summary} failed: {_last_line(one.log)} ({one.log})"
        for step in [each for each in self.waiting if one.step.name in each.needs]:
            self.waiting.remove(step)
            self.failed[step.name] = f"{step.summary} needs {one.step.name}, which failed"
        tail = one.log.read_text(errors="replace").splitlines()[-40:]
        self.display.say(f"  ✗ {one.step.summary} failed ({' '.join(one.step.command)})")
        self.display.say("\n".join(f"    {line}" for line in tail))
        self.display.say(f"  complete log: {one.log}")

    def _lines(self) -> list[str]:
        now = time.monotonic()
        return [f"[{len(self.seconds)}/{self.total}] {self.title}"] + [
            f"  {one.step.summary:{self.width}} {now - one.since:4.0f} s"
            f" {self._hint(one.step.name)}"
            f"  {_last_line(one.log)}"
            for one in self.active
        ]

    def _hint(self, name: str) -> str:
        last = self.durations.last(name)
        return "(first time)" if last is None else f"of ~{last:.0f} s"


def _last_line(log: Path) -> str:
    """Returns the last line of a log: what is being built."""
    # A progress bar writes many times into one line, with a carriage return before each.
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    shown = ("".join(c for c in _ESCAPE.sub("", line) if c.isprintable()) for line in lines[::-1])
    return next((line.strip()[:110] for line in shown if line.strip()), "…")
