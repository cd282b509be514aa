"""The table of the tiers says what ran, what did not, and why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hack.setup import records
from hack.support import processes
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


def after(monkeypatch: pytest.MonkeyPatch, folder: Path, record: records.Record) -> None:
    monkeypatch.setattr(records, "PATH", folder / "setup.json")
    monkeypatch.setattr(sys, "argv", ["tiers", "cluster", "--after-setup"])
    records.write(record)


def test_a_failed_build_costs_its_tier_and_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table names the step's reason, and no CI goes green because a build broke."""
    after(monkeypatch, tmp_path, records.Record(broken={"cluster": "no Go proxy answers"}))
    assert runner.main() == 1
    said = "!!! tier cluster DID NOT RUN BECAUSE ITS SETUP FAILED: no Go proxy answers"
    assert said in capsys.readouterr().out


def test_what_the_setup_found_lacking_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small machine runs what it can; the reason is what the setup saw before it began."""
    after(monkeypatch, tmp_path, records.Record(lacking={"cluster": "disk: 9 GB free"}))
    assert runner.main() == 0
    shown = capsys.readouterr().out
    assert "!!! tier cluster DID NOT RUN on this machine: disk: 9 GB free" in shown


CLEANS_UP = """
import pathlib, subprocess, time
marker = pathlib.Path({marker!r})
try:
    child = subprocess.Popen(["sleep", "300"])
    marker.write_text(str(child.pid))
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(0.5)
    marker.with_suffix(".cleaned").touch()
"""
"""A tier that starts something, and cleans up slowly when it is interrupted."""

RUNS = """
import sys
from hack.support import interrupts
from hack.tiers import __main__ as runner
interrupts.install()
print(runner.run_bounded([sys.executable, "-c", {tier!r}], {seconds}))
"""


def start(marker: Path, seconds: float, *, ignoring: bool) -> subprocess.Popen[str]:
    """Run such a tier; `ignoring` as a shell without job control starts `command &`."""
    code = RUNS.format(tier=CLEANS_UP.format(marker=str(marker)), seconds=seconds)
    how = "trap '' INT; exec \"$@\"" if ignoring else 'exec "$@"'
    return subprocess.Popen(
        ["bash", "-c", how, "bash", sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env={"PATH": "/usr/bin:/bin", "MENS_RUN": str(marker.parent / "run")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


def assert_ended(marker: Path) -> None:
    assert marker.with_suffix(".cleaned").exists()
    found = processes.identify(int(marker.read_text()))
    assert found is None or not found.alive()  # a zombie waits for this machine's init


def test_a_tier_out_of_time_may_clean_up(tmp_path: Path) -> None:
    """It is interrupted, not killed, even if we were started with SIGINT ignored: clusters end."""
    markers = {ignoring: tmp_path / f"ignoring-{ignoring}" for ignoring in (False, True)}
    runs = {marker: start(marker, 1.5, ignoring=key) for key, marker in markers.items()}
    for marker, run in runs.items():
        assert run.communicate(timeout=20)[0] == "None\n"
        assert_ended(marker)


@pytest.mark.usefixtures("default_signals")
def test_each_ending_signal_waits_until_the_tests_clean_up(tmp_path: Path) -> None:
    """Ctrl-C, a CI's SIGTERM, a closed terminal: the tier ends first, with what it started."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    runs = {number: start(tmp_path / number.name, 60, ignoring=True) for number in numbers}
    deadline = time.monotonic() + 20
    for number, run in runs.items():
        marker = tmp_path / number.name
        while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(run.pid, number)
    for number, run in runs.items():
        run.communicate(timeout=20)
        assert run.returncode != 0
        assert_ended(tmp_path / number.name)
