"""Runs pytest processes, tiers that compute beside tiers that wait.

Each process writes to its own log. A live line per process shows its progress; the failures of a
tier are printed when it ends.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hack.cluster import lifecycle
from hack.support import display, durations, errors, interrupts, paths

TEARDOWN_SECONDS = 60
"""How long an interrupted pytest may take to end its clusters and servers."""
NICE = 5
"""Lower priority of a job that computes all the time."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One process."""

    name: str
    """Name of the tier."""
    command: tuple[str, ...]
    log: Path
    """Where its output goes."""
    seconds: float
    """Time limit."""
    weight: float = 0.0
    """Expected seconds: the longest job starts first, the cheapest ones run beside it."""
    memory: int = 0
    """Bytes that it needs."""
    nice: bool = False
    """Whether it runs with a lower priority."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Its whole environment."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a process ended."""

    code: int | None
    """Its exit status; None when it reached its time limit and was interrupted."""
    seconds: float


@dataclasses.dataclass(frozen=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    began: float


class Runner:
    """Runs jobs in lanes, as many beside each other as there are lanes and memory allows.

    Args:
        lanes: Maximum number of jobs that run beside each other.
        memory: Bytes that all running jobs may need together. A job that needs more runs alone.
        ended: Called for each job when it has ended; returns the text to print.
        shown: Where progress is shown.
    """

    def __init__(
        self,
        lanes: int,
        memory: int,
        ended: Callable[[Job, Outcome], str],
        shown: display.Display | None = None,
    ) -> None:
        self.lanes = lanes
        self.memory = memory
        self.ended = ended
        self.display = shown or display.Display()
        self.durations = durations.Durations("tiers", minimum=0)
        self.waiting: list[Job] = []
        self.active: list[_Running] = []

    def run(self, jobs: Sequence[Job]) -> None:
        """Runs all jobs; whatever ends this program ends them first, with all they started."""
        self.waiting = list(jobs)
        try:
            while self.waiting or self.active:
                while (job := self._next()) is not None:
                    self._start(job)
                for one in list(self.active):
                    self._collect(one)
                self.display.show(self._lines)
                time.sleep(0.1)
        except BaseException:
            self._end(self.active)
            raise
        finally:
            self.display.clear()

    def _next(self) -> Job | None:
        """Returns the job to start now: the longest if none runs, else the first that fits."""
        if len(self.active) >= self.lanes or not self.waiting:
            return None
        if not self.active:
            return (
                max(self.waiting, key=lambda job: job.weight)
                if self.lanes > 1
                else (self.waiting[0])
            )
        used = sum(one.job.memory for one in self.active)
        return next((job for job in self.waiting if used + job.memory <= self.memory), None)

    def _start(self, job: Job) -> None:
        self.waiting.remove(job)
        command = ("nice", "-n", str(NICE), *job.command) if job.nice else job.command
        with job.log.open("wb") as output, interrupts.deferred():
            process = subprocess.Popen(
                command,
                cwd=paths.REPOSITORY,
                env=dict(job.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C on the terminal would interrupt its teardown.
                start_new_session=True,
            )
            self.active.append(_Running(job, process, time.monotonic()))

    def _collect(self, one: _Running) -> None:
        seconds = time.monotonic() - one.began
        code = one.process.poll()
        if code is None and seconds <= one.job.seconds:
            return
        if code is None:
            self._end([one])
        self.active.remove(one)
        if code == 0:
            self.durations.remember(one.job.name, seconds)
        self.display.say(self.ended(one.job, Outcome(code, seconds)))

    def _end(self, running: Sequence[_Running]) -> None:
        """Interrupts jobs and waits for their teardown.

        `subprocess.run` would kill them after a quarter of a second, and their clusters would
        continue to run.
        """
        interrupts.end([one.process for one in running], TEARDOWN_SECONDS)
        try:
            lifecycle.end_orphans()
        except errors.ToolError as error:
            sys.stderr.write(f"{error}\n")

    def _lines(self) -> list[str]:
        now = time.monotonic()
        return [
            f"  {one.job.name:9} {now - one.began:4.0f} s{self._estimate(one.job)}"
            f"  {_last_line(one.job.log)}"
            for one in self.active
        ] + ([f"  next: {', '.join(job.name for job in self.waiting)}"] if self.waiting else [])

    def _estimate(self, job: Job) -> str:
        last = self.durations.last(job.name)
        return "" if last is None else f" of about {last:.0f} s"


def lanes(*, shared: bool) -> int:
    """Returns how many tiers run beside each other: two, if there are two cores.

    Args:
        shared: Whether they all use one cluster that was there before: then one after the other,
            since some tests change the cluster's definitions.
    """
    return 1 if shared or (os.cpu_count() or 1) < 2 else 2


def failures(log: Path, lines: int = 120) -> str:
    """Returns the end of a log that explains a failure: from the first traceback on."""
    text = log.read_text(errors="replace").splitlines()
    starts = [number for number, line in enumerate(text) if _is_heading(line)]
    first = starts[0] if starts else 0
    return "\n".join(text[max(first, len(text) - lines) :])


def _is_heading(line: str) -> bool:
    return line.startswith("===") and (" FAILURES " in line or " ERRORS " in line)


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 400))
        lines = file.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        text = "".join(char for char in line if char.isprintable()).strip()
        if text.startswith("."):
            # A line of dots: its percentage, or how many tests it stands for.
            return text.lstrip(".sFE ") or f"{len(text)} tests"
        if text:
            return text[:60]
    return "…"
