"""The table of the tiers says what ran, what did not, and why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hack.tiers import __main__ as runner
from hack.tiers import tiers

UNIT = tiers.named(["unit"])[0]

REPORT = """<testsuites><testsuite tests="{tests}" failures="{failures}" errors="0"
skipped="{skipped}">{cases}</testsuite></testsuites>"""


def report(folder: Path, tests: int, failures: int = 0, skips: tuple[str, ...] = ()) -> Path:
    cases = "".join(f'<testcase><skipped message="{reason}"/></testcase>' for reason in skips)
    path = folder / "unit.xml"
    path.write_text(REPORT.format(tests=tests, failures=failures, skipped=len(skips), cases=cases))
    return path


def test_a_skip_is_said_with_its_reason(tmp_path: Path) -> None:
    """How often, and why, below the table."""
    found = runner.judged(UNIT, 0, 3.2, report(tmp_path, 5, skips=("no samples", "no samples")))
    assert (found.outcome, found.passed, found.skipped) == ("passed", 3, 2)
    shown = runner.table([found])
    assert "!!! tier unit skipped 2 x no samples" in shown
    assert shown.endswith("3 passed, 0 failed, 2 skipped\n")


def test_a_tier_that_only_skipped_did_not_run(tmp_path: Path) -> None:
    """A green line for nothing would be a lie."""
    found = runner.judged(UNIT, 0, 0.1, report(tmp_path, 1, skips=("no helm",)))
    assert found.outcome == "NOT RUN"
    assert "tier unit DID NOT RUN on this machine: 1 x no helm" in runner.table([found])


def test_a_failure_points_at_its_report(tmp_path: Path) -> None:
    """Failed, with the numbers and the place to look at."""
    found = runner.judged(UNIT, 1, 1.0, report(tmp_path, 4, failures=1))
    assert (found.outcome, found.passed, found.failed) == ("failed", 3, 1)
    assert "unit.xml" in found.note


def test_a_tier_without_tests_is_a_defect(tmp_path: Path) -> None:
    """pytest's status 5 is no success, and there is no report to read."""
    found = runner.judged(UNIT, 5, 1.0, tmp_path / "absent.xml")
    assert found.outcome == "failed"
    assert "no test was found" in found.note


def test_what_the_machine_lacks_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table names cause and fix."""
    cluster = tiers.named(["cluster"])[0]
    monkeypatch.setattr(runner.capabilities, "lacking", lambda _: ["root: no (run as root)"])
    found = runner.run_tier(cluster, Path(), [])
    assert found.outcome == "NOT RUN"
    assert "DID NOT RUN on this machine: root: no (run as root)" in runner.table([found])


CLEANS_UP = """
import signal, sys, time, pathlib
try:
    pathlib.Path({marker!r}).write_text("begun")
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path({marker!r}).write_text("cleaned")
"""


def test_a_tier_out_of_time_may_clean_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is interrupted, not killed: its clusters end."""
    monkeypatch.setenv("MENS_RUN", str(tmp_path / "run"))
    marker = tmp_path / "marker"
    command = [sys.executable, "-c", CLEANS_UP.format(marker=str(marker))]
    assert runner.run_bounded(command, 1.5) is None
    assert marker.read_text() == "cleaned"


def test_an_interrupt_waits_for_the_tests_to_clean_up(tmp_path: Path) -> None:
    """Ctrl-C reaches both processes, as a terminal sends it; the parent ends last."""
    marker = tmp_path / "marker"
    code = (
        "from hack.tiers import __main__ as runner; import sys; "
        f"runner.run_bounded([sys.executable, '-c', {CLEANS_UP.format(marker=str(marker))!r}], 60)"
    )
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "MENS_RUN": str(tmp_path / "run")},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(20) != 0
    assert marker.read_text() == "cleaned"
