"""Run steps side by side, each when what it needs is done, and say how it goes.

A step is a command of its own process with its output in a log file. On a terminal one live line
shows what runs; in a log a plain line comes every 15 s. How long a step took last time is kept in
the cache and shown while it runs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import paths
from hack.setup import environment

QUIET_SECONDS = 15.0
"""Time between two plain progress lines where there is no terminal."""
LIVE_SECONDS = 0.5
"""Time between two updates of the live line on a terminal."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One command and what must be done before it."""

    name: str
    """Short name, shown and used by `needs`."""
    says: str
    """What it does, for a person."""
    command: tuple[str, ...]
    """The command, run in the root of the checkout."""
    needs: tuple[str, ...] = ()
    """Names of steps that must have ended well before."""


@dataclasses.dataclass
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    since: float
    log: Path


def run(steps: Sequence[Step], *, title: str) -> int:
    """Run all steps; 0 when every one ended well, else 1 with the end of the failed one's log."""
    return _Run(steps, title).loop()


class _Run:
    def __init__(self, steps: Sequence[Step], title: str) -> None:
        self.waiting = list(steps)
        self.total = len(steps)
        self.title = title
        self.active: list[_Running] = []
        self.done: set[str] = set()
        self.logs = paths.cache() / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.took = _Durations(paths.cache() / "durations.json")
        self.tty = sys.stderr.isatty()
        self.last_line = 0.0

    def loop(self) -> int:
        began = time.monotonic()
        try:
            while self.waiting or self.active:
                self._start_ready()
                failed = self._collect()
                if failed is not None:
                    return self._report_failure(failed)
                self._show()
                time.sleep(0.1)
        finally:
            self._end_all()
        seconds = time.monotonic() - began
        if seconds > 2:
            self._say(f"{self.title}: ready after {seconds:.0f} s")
        return 0

    def _start_ready(self) -> None:
        for step in [one for one in self.waiting if set(one.needs) <= self.done]:
            self.waiting.remove(step)
            log = self.logs / f"{step.name}.log"
            with log.open("wb") as out:
                process = subprocess.Popen(
                    step.command,
                    cwd=environment.ROOT,
                    # What was relative to this folder must not be taken as relative to that one.
                    env={**environment.variables(), "MENS_CACHE": str(paths.cache())},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.active.append(_Running(step, process, time.monotonic(), log))

    def _collect(self) -> _Running | None:
        for one in list(self.active):
            code = one.process.poll()
            if code is None:
                continue
            self.active.remove(one)
            if code != 0:
                return one
            seconds = time.monotonic() - one.since
            self.done.add(one.step.name)
            # A step that found its cache is done in a moment; its real duration must survive that.
            if seconds > 5:
                self.took.remember(one.step.name, seconds)
            if seconds > 2:
                self._say(f"  ✓ {one.step.says}: {seconds:.0f} s")
        return None

    def _show(self) -> None:
        now = time.monotonic()
        if now - self.last_line < (LIVE_SECONDS if self.tty else QUIET_SECONDS) or not self.active:
            self.last_line = self.last_line or now
            return
        self.last_line = now
        parts = [
            f"{one.step.says} {now - one.since:.0f} s{self.took.hint(one.step.name)}"
            for one in self.active
        ]
        line = f"[{len(self.done)}/{self.total}] " + " · ".join(parts)
        if self.tty:
            sys.stderr.write(f"\r\x1b[2K{line[: os.get_terminal_size(2).columns - 1]}")
        else:
            said = [f"        {one.step.name}: {_last_line(one.log)}\n" for one in self.active]
            sys.stderr.write(f"{line}\n" + "".join(said))
        sys.stderr.flush()

    def _say(self, line: str) -> None:
        sys.stderr.write(f"\r\x1b[2K{line}\n" if self.tty else f"{line}\n")
        sys.stderr.flush()

    def _report_failure(self, one: _Running) -> int:
        tail = one.log.read_text(errors="replace").splitlines()[-40:]
        self._say(f"  ✗ {one.step.says} failed ({' '.join(one.step.command)})")
        self._say("\n".join(f"    {line}" for line in tail))
        self._say(f"  the whole log: {one.log}")
        return 1

    def _end_all(self) -> None:
        for one in self.active:
            one.process.terminate()
        for one in self.active:
            try:
                one.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                one.process.kill()


def _last_line(log: Path) -> str:
    """What a step said last, so that one sees what is being built and what is left."""
    # A progress bar writes many times into one line, with a carriage return before each.
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip()[:110] for line in reversed(lines) if line.strip()), "…")


class _Durations:
    """How long each step took when it last did real work."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.seconds: dict[str, float] = json.loads(path.read_text())
        except (OSError, ValueError):
            self.seconds = {}

    def remember(self, name: str, seconds: float) -> None:
        self.seconds[name] = round(seconds, 1)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.seconds, sort_keys=True))
        temporary.replace(self.path)

    def hint(self, name: str) -> str:
        last = self.seconds.get(name)
        return f" (last time {last:.0f} s)" if last else " (the first time; cached afterwards)"
