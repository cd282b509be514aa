"""Progress that never stands in the way."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import pytest

from mens.artifacts import errors as store_errors
from mens.artifacts import layout, refs
from mens.runtime import jobs, machine
from mens_trainer import report, telemetry
from tests.support import memory_store

FOLDER = refs.Uri("mens", "runs/u/k")


class Counting(memory_store.MemoryStore):
    """Counts writes, from one thread that is not the caller's."""

    def __init__(self) -> None:
        super().__init__(["mens"])
        self.threads: list[int] = []

    def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
        self.threads.append(threading.get_ident())
        return super().put_bytes(uri, data, if_absent=if_absent)


def test_only_the_newest_progress_is_written() -> None:
    """A thousand steps are a few writes, the last one is the last step, in a thread of its own."""
    objects = Counting()
    with telemetry.ProgressFile(objects, FOLDER) as file:
        for step in range(1000):
            file(jobs.Progress(stage="Training", step=step, total_steps=1000))
    assert 1 <= len(objects.threads) <= 3
    assert threading.get_ident() not in objects.threads
    assert json.loads(objects.get_bytes(layout.progress(FOLDER)))["step"] == 999


def test_a_store_that_fails_costs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on."""

    class Broken(memory_store.MemoryStore):
        def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
            raise store_errors.StoreDenied("no")

    with telemetry.ProgressFile(Broken(["mens"]), FOLDER) as file:
        file(jobs.Progress(stage="Training"))
    assert "progress is not written" in caplog.text


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    """Every line stays readable for every JSON reader."""
    log = telemetry.Telemetry(tmp_path / "t.jsonl", lambda: 1.5)
    log.write("step", loss=float("nan"), more={"x": [float("inf"), 1.0]})
    line = json.loads((tmp_path / "t.jsonl").read_text(), parse_constant=pytest.fail)
    assert line == {"event": "step", "timestamp": 1.5, "loss": None, "more": {"x": [None, 1.0]}}


def test_lines_come_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """One each ten seconds, at a new stage, and at the end."""
    caplog.set_level("INFO")
    now = iter(range(100))
    lines = telemetry.LogLines(lambda: float(next(now)), io.StringIO())
    for step in range(1, 26):
        lines(jobs.Progress(stage="Training", step=step, total_steps=25, eta_seconds=9))
    assert [r.message for r in caplog.records] == [
        f"Training, {step}/25, 9 s left" for step in (1, 11, 21, 25)
    ]


def test_a_terminal_gets_a_bar() -> None:
    """One line that is drawn over."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    lines = telemetry.LogLines(lambda: 0.0, screen)
    lines(jobs.Progress(stage="Training", step=1, total_steps=2))
    lines(jobs.Progress(stage="Training", step=2, total_steps=2))
    assert screen.getvalue().count("\r") == 2
    assert screen.getvalue().endswith("\n")
    assert "█" * 15 + "·" * 15 in screen.getvalue()


def test_averages_begin_as_a_mean() -> None:
    """The first value has no more weight than the others."""
    counters = telemetry.Counters()
    for loss in (1.0, 2.0, 6.0):
        counters = counters.after(loss, 1.0, samples=1, tokens=1, padded=1, targets=1)
    assert counters.loss_ema == pytest.approx(3.0)
    assert counters.samples == counters.step == 3


def test_names_in_the_report_are_text() -> None:
    """A name is never markup."""
    page = report.render("<script>", {"a": "<b>"}, [])
    assert "<script>" not in page
    assert "&lt;b&gt;" in page
    assert page.count("no data") == 4


def test_the_limit_is_the_smaller_one(tmp_path: Path) -> None:
    """A pod's limit, or the machine's memory where there is none."""
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:       1000 kB\n")
    limit = tmp_path / "memory.max"
    assert machine.memory_limit(limit, info) == 1000 * 1024
    limit.write_text("max\n")
    assert machine.memory_limit(limit, info) == 1000 * 1024
    limit.write_text("5000\n")
    assert machine.memory_limit(limit, info) == 5000
    assert machine.memory_limit(tmp_path / "none", tmp_path / "none") is None


def test_later_stages_keep_the_figures_of_the_last_step() -> None:
    """Saving and publishing do not set a finished run back to step 0 of 0."""
    told: list[jobs.Progress] = []
    tell = telemetry.Remembering(told.append)
    tell(jobs.Progress(stage="Loading"))
    tell(jobs.Progress(stage="Training", step=7, total_steps=7, loss_ema="1.5", eta_seconds=0))
    tell(jobs.Progress(stage="Publishing"))
    assert told[0] == jobs.Progress(stage="Loading")
    assert told[2] == jobs.Progress(stage="Publishing", step=7, total_steps=7, loss_ema="1.5")


@pytest.mark.parametrize(
    ("value", "shown"), [(2163.2, "2163"), (0.002, "0.002"), (3.9, "3.9"), (165.2, "165")]
)
def test_axes_have_no_exponents(value: float, shown: str) -> None:
    """2.16e+03 MiB is wider than its margin, and nobody reads it."""
    assert report.short(value) == shown
