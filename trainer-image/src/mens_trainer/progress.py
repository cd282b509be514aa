"""Progress of a run: progress.json for the operator, log lines and a progress bar for people."""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Callable
from typing import Final, Protocol, TextIO

from mens.artifacts import errors as store_errors
from mens.artifacts import layout, refs, store
from mens.runtime import jobs
from mens_trainer import telemetry

_LOG = logging.getLogger(__name__)

WRITE_SECONDS: Final = 3.0
"""Minimum seconds between two writes of progress.json."""

LOG_SECONDS: Final = 10.0
"""Minimum seconds between two progress lines of one stage in the log."""


class ProgressCallback(Protocol):
    """Receives the progress of a run."""

    def __call__(self, progress: jobs.Progress, /) -> None:
        """Handle the progress."""


def from_step(metrics: telemetry.StepMetrics) -> jobs.Progress:
    """Return the part of a step's metrics that the status of the resource shows."""
    return jobs.Progress(
        stage="Training",
        step=metrics.counters.step,
        total_steps=metrics.total_steps,
        samples_seen=metrics.counters.samples,
        tokens_seen=metrics.counters.supervised_tokens,
        loss=_decimal(metrics.loss),
        loss_ema=_decimal(metrics.counters.loss_ema),
        tokens_per_second=_decimal(metrics.tokens_per_second),
        eta_seconds=round(metrics.eta_seconds),
    )


def _decimal(value: float | None) -> str | None:
    return None if value is None or not math.isfinite(value) else f"{value:.4f}"


class ProgressMerger:
    """Adds the metrics of the last step to the progress of later stages, which have none.

    Otherwise a finished run would show step 0 of 0, since saving and publishing follow the steps.

    Args:
        callback: Receives the merged progress.
    """

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._last_step: jobs.Progress | None = None

    def __call__(self, progress: jobs.Progress) -> None:
        """Pass the progress on, with the metrics of the last step if it has none."""
        if progress.total_steps:
            self._last_step = progress
        elif self._last_step is not None:
            update = {"stage": progress.stage, "eta_seconds": None}
            progress = self._last_step.model_copy(update=update)
        self._callback(progress)


class ProgressWriter:
    """Writes progress.json from a background thread: only the newest value, without blocking.

    A context manager; on exit it writes the last value and ends the thread. A store error is logged
    as a warning and does not end the run.

    Args:
        objects: Store of the output; used from the background thread only.
        folder: Output folder.
        interval: Minimum seconds between two writes.
    """

    def __init__(
        self, objects: store.ObjectStore, folder: refs.Uri, interval: float = WRITE_SECONDS
    ) -> None:
        self._objects = objects
        self._uri = layout.progress(folder)
        self._interval = interval
        self._newest: jobs.Progress | None = None
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def __enter__(self) -> ProgressWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout=30)

    def __call__(self, progress: jobs.Progress) -> None:
        """Schedule the write; returns at once."""
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
                    self._wake.wait_for(lambda: self._closing, timeout=self._interval)

    def _write(self, progress: jobs.Progress) -> None:
        try:
            data = progress.model_dump_json(by_alias=True, exclude_none=True).encode()
            self._objects.put_bytes(self._uri, data)
        except store_errors.StoreError as e:
            _LOG.warning("cannot write progress: %s", e)


class ProgressLogger:
    """Shows progress to people: rate-limited log lines, or a progress bar on a terminal.

    Args:
        clock: Monotonic seconds.
        stream: Where the bar is drawn if it is a terminal.
    """

    def __init__(self, clock: Callable[[], float], stream: TextIO = sys.stderr) -> None:
        self._clock = clock
        self._bar = stream if stream.isatty() else None
        self._last = -math.inf
        self._stage = ""

    def __call__(self, progress: jobs.Progress) -> None:
        """Draw the bar, or log a line at a new stage, after `LOG_SECONDS` and at the last step."""
        if self._bar is not None and progress.total_steps:
            self._draw_bar(self._bar, progress)
            return
        now = self._clock()
        is_last_step = progress.step == progress.total_steps
        if progress.stage == self._stage and now - self._last < LOG_SECONDS and not is_last_step:
            return
        self._stage, self._last = progress.stage, now
        _LOG.info("%s", format_line(progress))

    def _draw_bar(self, stream: TextIO, progress: jobs.Progress) -> None:
        width = 30
        filled = width * progress.step // progress.total_steps
        end = "\n" if progress.step == progress.total_steps else ""
        bar = "█" * filled + "·" * (width - filled)
        stream.write(f"\r[{bar}] {format_line(progress)}\x1b[K{end}")
        stream.flush()


def format_line(progress: jobs.Progress) -> str:
    """Return one line of text with stage, steps, loss, throughput and remaining time."""
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
