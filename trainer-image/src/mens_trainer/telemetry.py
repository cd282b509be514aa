"""What is written down while a run works: telemetry.jsonl, progress.json, log lines, a bar.

The keys of telemetry.jsonl are those of upstream's trainer, so that its dashboards read our
files. Counters count rows and tokens exactly and do not depend on the micro-batch.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

from mens.artifacts import errors as store_errors
from mens.artifacts import layout, refs, store
from mens.runtime import jobs

_LOG = logging.getLogger(__name__)

FILE_NAME: Final = "telemetry.jsonl"
"""Name of the file in the adapter's folder."""

EMA: Final = 0.1
"""Weight of the newest value in the moving averages: about the last ten steps count."""

PROGRESS_SECONDS: Final = 3.0
"""Between two writes of progress.json."""

LOG_SECONDS: Final = 10.0
"""Between two progress lines in the log."""


@dataclass(frozen=True)
class Counters:
    """How far training is; a checkpoint keeps them, so they survive a resume."""

    step: int = 0
    """Optimizer steps done."""
    samples: int = 0
    """Rows trained on."""
    tokens: int = 0
    """Tokens computed, without padding."""
    padded: int = 0
    """Tokens computed, with padding."""
    targets: int = 0
    """Supervised tokens trained on."""
    loss_ema: float | None = None
    """Moving average of the loss."""
    step_seconds_ema: float | None = None
    """Moving average of the seconds of a step."""

    def after(
        self, loss: float, seconds: float, *, samples: int, tokens: int, padded: int, targets: int
    ) -> Counters:
        """The counters after one more step."""
        return Counters(
            step=self.step + 1,
            samples=self.samples + samples,
            tokens=self.tokens + tokens,
            padded=self.padded + padded,
            targets=self.targets + targets,
            loss_ema=_average(self.loss_ema, loss, self.step + 1),
            step_seconds_ema=_average(self.step_seconds_ema, seconds, self.step + 1),
        )


@dataclass(frozen=True)
class StepFacts:
    """One optimizer step, as it is reported."""

    counters: Counters
    """Where the run stands after the step."""
    total_steps: int
    """Steps of the run."""
    loss: float
    """Mean cross-entropy over the supervised tokens of the step, nats."""
    learning_rate: float
    """Rate the step was made with."""
    gradient_norm: float
    """Norm of the gradient before clipping."""
    seconds: float
    """Time the step took."""
    tokens: int
    """Tokens of the step, without padding."""
    targets: int
    """Supervised tokens of the step."""
    rss_bytes: int
    """Resident memory of the process."""
    device_bytes: int
    """Memory allocated on the accelerator, 0 without one."""

    @property
    def tokens_per_second(self) -> float:
        """Throughput of the step, padding not counted."""
        return self.tokens / max(self.seconds, 1e-9)

    @property
    def eta_seconds(self) -> float:
        """Seconds that the rest of the steps will take at the present pace."""
        return (self.total_steps - self.counters.step) * (self.counters.step_seconds_ema or 0.0)


def _average(before: float | None, value: float, count: int) -> float:
    """The moving average; a plain mean as long as it has fewer values than it averages over."""
    weight = max(EMA, 1 / count)
    return value if before is None else (1 - weight) * before + weight * value


class Telemetry:
    """Appends one JSON object per line; every line is complete on disk before the next begins.

    Args:
        path: The file; continued if it exists.
        clock: Seconds since the epoch, for a reader who joins it with other logs.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self.events: list[dict[str, Any]] = []

    def write(self, event: str, **fields: Any) -> None:
        """Append an event; a number that JSON does not have (NaN) becomes null."""
        line = {"event": event, "timestamp": round(self._clock(), 3), **_finite(fields)}
        self.events.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def step(self, facts: StepFacts) -> None:
        """Append the event of an optimizer step."""
        done = facts.counters
        pace = done.step_seconds_ema or 0.0
        self.write(
            "step",
            step=done.step,
            total_steps=facts.total_steps,
            loss=round(facts.loss, 6),
            loss_ema=round(done.loss_ema or 0.0, 6),
            learning_rate=facts.learning_rate,
            grad_norm=round(facts.gradient_norm, 6),
            step_seconds=round(facts.seconds, 4),
            steps_per_sec_ema=round(1 / pace, 5) if pace else None,
            eta_seconds_remaining=round(facts.eta_seconds, 1),
            progress_fraction=round(done.step / facts.total_steps, 6),
            tokens_per_sec=round(facts.tokens_per_second, 2),
            supervised_ratio_pct=round(100 * done.targets / max(1, done.tokens), 3),
            supervised_tokens=done.targets,
            valid_tokens=done.tokens,
            theoretical_tokens=done.padded,
            samples_seen=done.samples,
            rss_bytes=facts.rss_bytes,
            device_bytes=facts.device_bytes,
        )


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


class Reporter(Protocol):
    """Is told how far the run is."""

    def __call__(self, progress: jobs.Progress) -> None:
        """Note it."""


def to_progress(facts: StepFacts) -> jobs.Progress:
    """What the resource's status shows of a step."""
    return jobs.Progress(
        stage="Training",
        step=facts.counters.step,
        total_steps=facts.total_steps,
        samples_seen=facts.counters.samples,
        tokens_seen=facts.counters.targets,
        loss=_decimal(facts.loss),
        loss_ema=_decimal(facts.counters.loss_ema),
        tokens_per_second=_decimal(facts.tokens_per_second),
        eta_seconds=round(facts.eta_seconds),
    )


def _decimal(value: float | None) -> str | None:
    return None if value is None or not math.isfinite(value) else f"{value:.4f}"


class Remembering:
    """Keeps the figures of the last step when a later stage has none of its own.

    Without it a finished run would show step 0 of 0: saving and publishing come after the steps.

    Args:
        tell: Told of every progress, completed.
    """

    def __init__(self, tell: Reporter) -> None:
        self._tell = tell
        self._last: jobs.Progress | None = None

    def __call__(self, progress: jobs.Progress) -> None:
        """Pass it on, with the last step's figures where it has none."""
        if progress.total_steps:
            self._last = progress
        elif self._last is not None:
            kept = {"stage": progress.stage, "eta_seconds": None}
            progress = self._last.model_copy(update=kept)
        self._tell(progress)


class ProgressFile:
    """Writes progress.json from a thread of its own: only the newest value, never in the way.

    Use as a context manager; leaving it writes the last value and ends the thread. A store that
    fails costs a warning, not the run.

    Args:
        objects: Where the output lies; used from one other thread.
        folder: The output.
        every: Least seconds between two writes.
    """

    def __init__(
        self, objects: store.ObjectStore, folder: refs.Uri, every: float = PROGRESS_SECONDS
    ) -> None:
        self._objects = objects
        self._uri = layout.progress(folder)
        self._every = every
        self._newest: jobs.Progress | None = None
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def __enter__(self) -> ProgressFile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout=30)

    def __call__(self, progress: jobs.Progress) -> None:
        """Note how far the run is; returns at once."""
        with self._wake:
            self._newest = progress
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._newest is not None or self._closing)
                newest, self._newest = self._newest, None
            if newest is not None:
                self._write(newest)
            with self._wake:
                if self._closing and self._newest is None:
                    return
                if not self._closing:
                    self._wake.wait_for(lambda: self._closing, timeout=self._every)

    def _write(self, progress: jobs.Progress) -> None:
        try:
            data = progress.model_dump_json(by_alias=True, exclude_none=True).encode()
            self._objects.put_bytes(self._uri, data)
        except store_errors.StoreError as e:
            _LOG.warning("progress is not written: %s", e)


class LogLines:
    """Progress for people: one line in the log now and then, a bar on a terminal.

    Args:
        clock: Seconds that only grow.
        stream: Where a bar goes if it is a terminal.
    """

    def __init__(self, clock: Callable[[], float], stream: TextIO = sys.stderr) -> None:
        self._clock = clock
        self._bar = stream if stream.isatty() else None
        self._last = -math.inf
        self._stage = ""

    def __call__(self, progress: jobs.Progress) -> None:
        """Show it, if it is time."""
        if self._bar is not None and progress.total_steps:
            self._draw(self._bar, progress)
            return
        now = self._clock()
        last_step = progress.step == progress.total_steps
        if progress.stage == self._stage and now - self._last < LOG_SECONDS and not last_step:
            return
        self._stage, self._last = progress.stage, now
        _LOG.info("%s", line(progress))

    def _draw(self, stream: TextIO, progress: jobs.Progress) -> None:
        width = 30
        done = width * progress.step // progress.total_steps
        end = "\n" if progress.step == progress.total_steps else ""
        stream.write(f"\r[{'█' * done}{'·' * (width - done)}] {line(progress)}\x1b[K{end}")
        stream.flush()


def line(progress: jobs.Progress) -> str:
    """One line about how far the run is."""
    parts = [progress.stage]
    if progress.total_steps:
        parts.append(f"{progress.step}/{progress.total_steps}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss} (average {progress.loss_ema})")
    if progress.tokens_per_second is not None:
        parts.append(f"{float(progress.tokens_per_second):.0f} tokens/s")
    if progress.eta_seconds is not None:
        parts.append(f"{progress.eta_seconds} s left")
    return ", ".join(parts)
