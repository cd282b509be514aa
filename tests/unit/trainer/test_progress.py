"""Progress: progress.json, log lines and the progress bar."""

from __future__ import annotations

import io
import json
import threading

import pytest

from mens.artifacts import errors as store_errors
from mens.artifacts import layout, refs
from mens.runtime import jobs
from mens_trainer import progress
from tests.support import memory_store

FOLDER = refs.Uri("mens", "runs/u/k")


class Counting(memory_store.MemoryStore):
    """Records the thread of every write."""

    def __init__(self) -> None:
        super().__init__(["mens"])
        self.threads: list[int] = []

    def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
        self.threads.append(threading.get_ident())
        return super().put_bytes(uri, data, if_absent=if_absent)


def test_only_the_newest_progress_is_written() -> None:
    """1000 steps take a few writes from a background thread; the last one is the last step."""
    objects = Counting()
    with progress.ProgressWriter(objects, FOLDER) as writer:
        for step in range(1000):
            writer(jobs.Progress(stage="Training", step=step, total_steps=1000))
    assert 1 <= len(objects.threads) <= 3
    assert threading.get_ident() not in objects.threads
    assert json.loads(objects.get_bytes(layout.progress(FOLDER)))["step"] == 999


def test_a_store_error_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The run continues."""

    class Broken(memory_store.MemoryStore):
        def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
            raise store_errors.StoreDenied("no")

    with progress.ProgressWriter(Broken(["mens"]), FOLDER) as writer:
        writer(jobs.Progress(stage="Training"))
    assert "cannot write progress" in caplog.text


def test_log_lines_are_rate_limited(caplog: pytest.LogCaptureFixture) -> None:
    """One per ten seconds, at a new stage and at the last step."""
    caplog.set_level("INFO")
    now = iter(range(100))
    logger = progress.ProgressLogger(lambda: float(next(now)), io.StringIO())
    for step in range(1, 26):
        logger(jobs.Progress(stage="Training", step=step, total_steps=25, eta_seconds=9))
    assert [r.message for r in caplog.records] == [
        f"Training, {step}/25, 9 s left" for step in (1, 11, 21, 25)
    ]


def test_a_terminal_shows_a_progress_bar() -> None:
    """On one line that is overwritten."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    logger = progress.ProgressLogger(lambda: 0.0, screen)
    logger(jobs.Progress(stage="Training", step=1, total_steps=2))
    logger(jobs.Progress(stage="Training", step=2, total_steps=2))
    assert screen.getvalue().count("\r") == 2
    assert screen.getvalue().endswith("\n")
    assert "█" * 15 + "·" * 15 in screen.getvalue()


def test_later_stages_keep_the_metrics_of_the_last_step() -> None:
    """Saving and publishing do not reset a finished run to step 0 of 0."""
    received: list[jobs.Progress] = []
    merger = progress.ProgressMerger(received.append)
    merger(jobs.Progress(stage="Loading"))
    merger(jobs.Progress(stage="Training", step=7, total_steps=7, loss_ema="1.5", eta_seconds=0))
    merger(jobs.Progress(stage="Publishing"))
    assert received[0] == jobs.Progress(stage="Loading")
    assert received[2] == jobs.Progress(stage="Publishing", step=7, total_steps=7, loss_ema="1.5")
