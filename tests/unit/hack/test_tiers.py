"""The runner of the tiers: what runs beside what, the table, the budgets, and the end of a run."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hack.setup import capabilities, records
from hack.support import display, processes
from hack.tiers import __main__ as command
from hack.tiers import budgets, results, runner, table, tiers

UNIT = tiers.named(["unit"])[0]

REPORT = """<testsuites><testsuite tests="{tests}" failures="{failures}" errors="0"
skipped="{skipped}">{cases}</testsuite></testsuites>"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache and logs of the test's own."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "OUT", tmp_path / "out")


def report(folder: Path, tests: int, failures: int = 0, skips: tuple[str, ...] = ()) -> Path:
    cases = "".join(f'<testcase><skipped message="{reason}"/></testcase>' for reason in skips)
    path = folder / "unit.xml"
    path.write_text(REPORT.format(tests=tests, failures=failures, skipped=len(skips), cases=cases))
    return path


def test_the_table_names_the_reason_of_each_skip(tmp_path: Path) -> None:
    """With its count, below the table."""
    found = results.judge(UNIT, 0, 3.2, report(tmp_path, 5, skips=("no samples", "no samples")))
    assert (found.outcome, found.passed, found.skipped) == ("passed", 3, 2)
    shown = table.render([found])
    assert "!!! tier unit skipped 2 x no samples" in shown
    assert shown.endswith("\n\n3 passed, 0 failed, 2 skipped\n")


def test_a_tier_with_only_skipped_tests_did_not_run(tmp_path: Path) -> None:
    """It proves nothing, so it must not count as passed."""
    found = results.judge(UNIT, 0, 0.1, report(tmp_path, 1, skips=("no helm",)))
    assert found.outcome == "NOT RUN"
    assert "tier unit DID NOT RUN on this machine: 1 x no helm" in table.render([found])


def test_a_failed_tier_names_its_log(tmp_path: Path) -> None:
    """Failed, with the numbers and the place to look at."""
    found = results.judge(UNIT, 1, 1.0, report(tmp_path, 4, failures=1))
    assert (found.outcome, found.passed, found.failed) == ("failed", 3, 1)
    assert "unit.log" in found.note


def test_a_tier_without_tests_fails(tmp_path: Path) -> None:
    """pytest's status 5 is not a success, and there is no report to read."""
    found = results.judge(UNIT, 5, 1.0, tmp_path / "absent.xml")
    assert found.outcome == "failed"
    assert "pytest found no test" in found.note


def test_the_table_shows_the_ten_slowest_tests_of_all_tiers() -> None:
    """The slowest first, each with its tier."""
    model = tiers.named(["model"])[0]
    cases = tuple(results.Case(f"tests/unit/test_a.py::test_{n}", float(n)) for n in range(20))
    slow = results.Case("tests/model/test_b.py::test_big", 83.1)
    found = [
        results.Result(UNIT, "passed", cases=cases),
        results.Result(model, "passed", cases=(slow,)),
    ]
    lines = table.render(found).splitlines()
    start = lines.index("the slowest tests") + 1
    assert lines[start] == "  83.1 s  model    tests/model/test_b.py::test_big"
    assert lines[start + 9] == "  11.0 s  unit     tests/unit/test_a.py::test_11"
    assert lines[start + 10] == ""


def test_a_report_names_the_file_of_each_test(tmp_path: Path) -> None:
    """So that the line can be copied to pytest."""
    path = tmp_path / "unit.xml"
    case = '<testcase classname="tests.unit.hack.test_x" name="test_y[1]" time="2.5"/>'
    path.write_text(REPORT.format(tests=1, failures=0, skipped=0, cases=case))
    [found] = results.judge(UNIT, 0, 1.0, path).cases
    assert found == results.Case("tests/unit/hack/test_x.py::test_y[1]", 2.5)


def test_a_tier_over_its_budget_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its time, its budget and the fix. A slower machine has a larger budget."""
    monkeypatch.delenv("MENS_TEST_BUDGET", raising=False)
    slow = results.Result(UNIT, "passed", seconds=UNIT.budget * 1.2)
    [sentence] = budgets.exceeded([slow, results.Result(UNIT, "passed", seconds=1.0)], 1.0)
    assert (
        f"tier unit took {UNIT.budget * 1.2:.0f} s; its budget is {UNIT.budget:.0f} s" in sentence
    )
    assert budgets.exceeded([slow], 1.3) == []
    monkeypatch.setenv("MENS_TEST_BUDGET", "1.5")
    assert budgets.exceeded([slow], 1.0) == []


def test_a_fast_machine_keeps_the_budget_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement is short and noisy: it must never make a budget smaller."""
    monkeypatch.setattr(budgets, "REFERENCE_SECONDS", 1e6)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert budgets.slowdown() == 1.0


def test_tests_keep_bytecode_outside_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python may not write it beside the sources, as in many container images."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found = command.environment(UNIT)
    assert "PYTHONDONTWRITEBYTECODE" not in found
    assert found["PYTHONPYCACHEPREFIX"].endswith(".venv/bytecode")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    assert "PYTHONPYCACHEPREFIX" not in command.environment(UNIT)


def test_only_the_end_to_end_tests_use_the_kept_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clusters cannot share them, and the tiers run beside each other."""
    monkeypatch.delenv("MENS_CONTAINERD", raising=False)
    users = [t.name for t in tiers.TIERS if "MENS_CONTAINERD" not in command.environment(t)]
    assert users == ["e2e"]


def test_a_run_over_budget_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although every test passed; the closing line stays alone on its line."""
    over = results.Result(UNIT, "passed", seconds=9e9, passed=3)
    monkeypatch.setattr(command, "unable", lambda *_: over)
    assert command.run([UNIT], [], records.NONE) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("!!! tier unit took") for line in lines)
    assert lines[-1] == "3 passed, 0 failed, 0 skipped"


def test_a_tier_that_the_machine_cannot_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table names cause and fix."""
    cluster = tiers.named(["cluster"])[0]
    monkeypatch.setattr(capabilities, "lacking", lambda _: ["root: no (run as root)"])
    found = command.unable(cluster, records.NONE)
    assert found is not None
    assert found.outcome == "NOT RUN"
    assert "DID NOT RUN on this machine: root: no (run as root)" in table.render([found])


@pytest.mark.parametrize("words", [["unit", "e2e"], []])
def test_tiers_are_named_after_the_options(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the Makefile does it."""
    chosen: list[str] = []
    monkeypatch.setattr(sys, "argv", ["tiers", "run", "--after-setup", *words])

    def run(found: list[tiers.Tier], *_: object) -> int:
        chosen.extend(tier.name for tier in found)
        return 0

    monkeypatch.setattr(command, "run", run)
    assert command.main() == 0
    assert chosen == (words or [tier.name for tier in tiers.TIERS])


def after(monkeypatch: pytest.MonkeyPatch, folder: Path, record: records.Record) -> None:
    monkeypatch.setattr(records, "PATH", folder / "setup.json")
    monkeypatch.setattr(sys, "argv", ["tiers", "run", "cluster", "--after-setup"])
    records.write(record)


def test_a_failed_build_fails_its_tier_and_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table names the step's reason, and CI fails when a build fails."""
    after(monkeypatch, tmp_path, records.Record(broken={"cluster": "no Go proxy answers"}))
    assert command.main() == 1
    expected = "!!! tier cluster DID NOT RUN BECAUSE ITS SETUP FAILED: no Go proxy answers"
    assert expected in capsys.readouterr().out


def test_a_tier_that_the_machine_lacks_is_not_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small machine runs what it can; the reason is what the setup found before it began."""
    after(monkeypatch, tmp_path, records.Record(lacking={"cluster": "disk: 9 GB free"}))
    assert command.main() == 0
    shown = capsys.readouterr().out
    assert "!!! tier cluster DID NOT RUN on this machine: disk: 9 GB free" in shown


class Recorder:
    """Jobs that note when they began and ended, and the order in which the runner saw them end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended: dict[str, runner.Outcome] = {}

    def job(self, name: str, script: str, **changes: float) -> runner.Job:
        log = self.folder / f"{name}.log"
        environment = {"PATH": os.environ["PATH"]}
        seconds, weight = changes.get("seconds", 60.0), changes.get("weight", 0.0)
        return runner.Job(
            name,
            ("bash", "-c", script),
            log,
            seconds=seconds,
            weight=weight,
            memory=int(changes.get("memory", 0)),
            environment=environment,
        )

    def run(self, lanes: int, jobs: list[runner.Job], memory: int = 100) -> str:
        shown = io.StringIO()
        runner.Runner(lanes, memory, self._end, display.Display(shown)).run(jobs)
        return shown.getvalue()

    def _end(self, job: runner.Job, outcome: runner.Outcome) -> str:
        self.ended[job.name] = outcome
        return f"{job.name} ended"


def beside(mine: Path, other: Path) -> str:
    """A script that ends well only while another one like it runs."""
    return (
        f"touch {mine}; for i in $(seq 200); do [ -e {other} ] && exit 0; sleep 0.02; done; exit 1"
    )


def test_the_longest_job_runs_beside_the_cheapest(tmp_path: Path) -> None:
    """So that the processor works while a tier waits for its cluster."""
    recorder = Recorder(tmp_path)
    jobs = [
        recorder.job("unit", beside(tmp_path / "a", tmp_path / "b"), weight=1),
        recorder.job("e2e", beside(tmp_path / "b", tmp_path / "a"), weight=9),
    ]
    shown = recorder.run(2, jobs)
    assert {name: outcome.code for name, outcome in recorder.ended.items()} == {"unit": 0, "e2e": 0}
    assert "unit ended\n" in shown
    assert "e2e ended\n" in shown


@pytest.mark.parametrize(("lanes", "memory"), [(1, 100), (2, 10)])
def test_jobs_run_one_after_the_other_without_lanes_or_memory(
    tmp_path: Path, lanes: int, memory: int
) -> None:
    """With one lane, or with memory for one of them; a job that needs more than there is runs."""
    recorder, busy = Recorder(tmp_path), tmp_path / "busy"
    script = f"[ ! -e {busy} ] && touch {busy} && sleep 0.2 && rm {busy}"
    jobs = [recorder.job(name, script, memory=11) for name in ("one", "two")]
    recorder.run(lanes, jobs, memory)
    assert {name: outcome.code for name, outcome in recorder.ended.items()} == {"one": 0, "two": 0}


def test_a_failure_shows_the_end_of_the_log_from_the_first_traceback(tmp_path: Path) -> None:
    """The dots before it are in the log only."""
    log = tmp_path / "unit.log"
    log.write_text("....F [100%]\n=== FAILURES ===\n" + "x\n" * 3 + "FAILED tests/a.py::b\n")
    assert runner.failures(log) == "=== FAILURES ===\nx\nx\nx\nFAILED tests/a.py::b"
    log.write_text("\n".join(map(str, range(500))))
    assert runner.failures(log, 2) == "498\n499"


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
import os, pathlib, sys
from hack.support import interrupts
from hack.tiers import runner
interrupts.install()
marker = pathlib.Path({marker!r})
job = runner.Job(
    "tier",
    (sys.executable, "-c", {tier!r}),
    marker.with_suffix(".log"),
    seconds={seconds},
    environment=os.environ,
)
runner.Runner(1, 0, lambda _, outcome: print(outcome.code) or "").run([job])
"""


def start(marker: Path, seconds: float, *, ignoring: bool) -> subprocess.Popen[str]:
    """Runs such a tier; `ignoring` as a shell without job control starts `command &`."""
    tier = CLEANS_UP.format(marker=str(marker))
    code = RUNS.format(tier=tier, seconds=seconds, marker=str(marker))
    how = "trap '' INT; exec \"$@\"" if ignoring else 'exec "$@"'
    roots = {name: str(marker.parent / name) for name in ("MENS_RUN", "MENS_CACHE")}
    return subprocess.Popen(
        ["bash", "-c", how, "bash", sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env={"PATH": "/usr/bin:/bin", **roots},
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
