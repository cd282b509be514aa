"""The setup: steps side by side, their end whatever ends them, and the record they leave."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster import toolsets
from hack.setup import records, runner, steps
from hack.support import display, durations, interrupts, processes
from hack.tiers import preparation, tiers

ROOT = Path(__file__).parents[3]

LEAVES = "sleep 300 & echo $! > {marker}; "
"""A step whose own child lives on when only the step is ended."""


@pytest.fixture(autouse=True)
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of the test's own, and SIGINT as `interrupts.install` leaves it, for all steps."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path / "cache"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def step(name: str, script: str, *needs: str) -> runner.Step:
    return runner.Step(name, f"makes {name}", ("bash", "-c", script), needs)


def child(marker: Path) -> int:
    deadline = time.monotonic() + 20
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(marker.read_text())


def lives(pid: int) -> bool:
    found = processes.identify(pid)  # a zombie waits for this machine's init, if it has one
    return found is not None and found.alive()


def test_a_step_waits_for_what_it_needs(tmp_path: Path) -> None:
    """Order comes from `needs` alone."""
    there = tmp_path / "there"
    chosen = [
        step("second", f"test -f {there}", "first"),
        step("first", f"sleep 0.3; touch {there}"),
    ]
    outcome = runner.run(chosen, title="setup")
    assert set(outcome.seconds) == {"first", "second"}
    assert outcome.failed == {}


def test_a_failure_ends_the_others_and_all_they_started(tmp_path: Path) -> None:
    """A build that nobody waits for any more must not go on unseen."""
    marker = tmp_path / "marker"
    waits = f"while [ ! -s {marker} ]; do sleep 0.02; done; "
    chosen = [
        step("bad", waits + "echo no room; exit 1"),
        step("other", LEAVES.format(marker=marker) + "wait"),
    ]
    outcome = runner.run(chosen, title="setup")
    assert outcome.failed["bad"].startswith("makes bad failed: no room (")
    assert not lives(child(marker))


def test_processes_of_a_failed_step_end(tmp_path: Path) -> None:
    """Its program gave up, a compiler that it had started did not."""
    marker = tmp_path / "marker"
    outcome = runner.run([step("bad", LEAVES.format(marker=marker) + "exit 1")], title="setup")
    assert "bad" in outcome.failed
    assert not lives(child(marker))


def test_after_an_optional_failure_the_other_steps_continue() -> None:
    """Steps that need the failed one fail with it, by name; the others run."""
    chosen = [step("bad", "exit 1"), step("above", "true", "bad"), step("other", "sleep 0.5")]
    outcome = runner.run(chosen, title="setup", optional={"bad", "above"})
    assert outcome.failed["above"] == "makes above needs bad, which failed"
    assert set(outcome.seconds) == {"other"}


SETUP = """
import sys
from hack.support import interrupts
from hack.setup import runner
interrupts.install()
runner.run([runner.Step("one", "one", ("bash", "-c", {script!r}))], title="setup")
"""


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_ending_signal_ends_the_setup_and_its_steps(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Also when it was started with SIGINT ignored, as CI runners do; steps may clean up first."""
    marker, cleaned = tmp_path / "marker", tmp_path / "cleaned"
    script = f"trap 'touch {cleaned}; exit 1' INT; {LEAVES.format(marker=marker)} wait"
    setup = subprocess.Popen(
        [
            "bash",
            "-c",
            "trap '' INT; exec \"$@\"",
            "bash",
            sys.executable,
            "-c",
            SETUP.format(script=script),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    left = child(marker)
    setup.send_signal(number)
    assert setup.wait(20) != 0
    assert cleaned.exists()
    assert not lives(left)


def test_a_process_that_ignores_signals_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end comes in bounded time."""
    monkeypatch.setattr(interrupts, "STUBBORN_SECONDS", 0.2)
    marker = tmp_path / "marker"
    script = f"trap '' INT TERM; {LEAVES.format(marker=marker)} while :; do sleep 0.1; done"
    process = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    left = child(marker)
    interrupts.end([process], 0.2)
    assert process.returncode == -signal.SIGKILL
    assert not lives(left)


def test_every_step_of_a_tier_is_one_of_the_setup() -> None:
    """A tier that names a step which nobody runs would never learn that it failed."""
    known = {step.name for step in steps.ALL}
    assert {name for tier in tiers.TIERS for name in tier.steps} <= known


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (["unit"], ["environment"]),
        (["model"], ["environment", "model"]),
        (["cluster", "unit"], ["environment", "binaries", "kwok"]),
        ([], ["environment", "binaries", "images", "model", "kwok"]),
    ],
)
def test_tiers_determine_the_steps(chosen: list[str], names: list[str]) -> None:
    """`make test TIERS=unit` compiles no Kubernetes."""
    assert [step.name for step in preparation.steps_of(tiers.named(chosen))] == names


@pytest.mark.parametrize(
    ("build", "last"), [(toolsets.NODE, "pause"), (("helm",), "helm"), ((), None)]
)
def test_the_demo_builds_only_what_its_cluster_lacks(
    build: tuple[str, ...], last: str | None
) -> None:
    """On a cluster of somebody else no API server is compiled for nothing."""
    commands = {step.name: step.command for step in steps.for_demo(build)}
    assert set(commands) - {"binaries"} == {"environment", "images", "model"}
    assert commands.get("binaries", (None,))[-1] == last


def test_a_failed_step_affects_the_tiers_that_need_it() -> None:
    """Each with every reason, and no other tier."""
    failed = {"binaries": "no Go proxy", "model": "no index"}
    assert preparation.unready(tiers.named(["unit", "model", "e2e"]), failed) == {
        "model": "no index",
        "e2e": "no Go proxy; no index",
    }


def test_the_setup_builds_all_that_a_node_needs() -> None:
    """Otherwise every tier keeps asking for room to build what is left."""
    assert set(toolsets.needed(node=True, kwok=False)) <= set(steps.BINARIES.command)


@pytest.mark.parametrize("words", [["setup", "unt"], ["setup", "unit", "e2"]])
def test_a_misspelt_tier_is_refused_before_anything_is_made(words: list[str]) -> None:
    """Not after ten minutes of builds."""
    done = subprocess.run(
        [sys.executable, "-m", "hack.tiers", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown tier" in done.stderr
    assert "unit, scenario, storage" in done.stderr


def test_a_record_is_valid_for_the_command_after_the_setup(tmp_path: Path) -> None:
    """The demo adds what its own setup took, never what an older one did."""
    path = tmp_path / "setup.json"
    record = records.Record(100.5, {"images": 262.0}, {"cluster": "no proxy"}, {"e2e": "disk"})
    records.write(record, path)
    assert records.read(path) == record
    assert records.seconds_since(100, path) == {"images": 262.0}
    assert records.seconds_since(101, path) == {}
    assert records.seconds_since(0, tmp_path / "absent.json") == {}


def test_a_cache_hit_does_not_replace_a_duration() -> None:
    """The estimate is the duration of real work."""
    kept = durations.Durations("setup")
    kept.remember("images", 261.6)
    kept.remember("images", 1.2)
    assert durations.Durations("setup").last("images") == 261.6
    assert durations.Durations("images").last("images") is None, "each area has its own steps"
    assert kept.last("binaries") is None


def test_last_line_is_the_newest_state_of_a_progress_bar(tmp_path: Path) -> None:
    """The newest state of a progress bar, without its colors."""
    log = tmp_path / "log"
    log.write_text("first\n\x1b[31mbase: 1 s\x1b[0m\r\x1b[2Kbase: 2 s\t\x1b[1A\r\n\n")
    assert runner._last_line(log) == "base: 2 s"


def test_a_log_shows_a_line_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then, whole, without marks for a terminal."""
    monkeypatch.setattr(display, "QUIET_SECONDS", 0.0)
    log = io.StringIO()
    shown = display.Display(log)
    shown.show(lambda: ["[0/2] setup", "  images 15 s", "  binaries 15 s"])
    shown.say("  ✓ images")
    shown.clear()
    assert log.getvalue() == "[0/2] setup\n  images 15 s\n  binaries 15 s\n  ✓ images\n"


def test_a_terminal_shows_a_live_line_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cut to the width, all redrawn in place; what stays is printed above them."""
    monkeypatch.setattr(display, "LIVE_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "10")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        shown = display.Display(terminal)
        for seconds in (1, 2):
            shown.show(lambda now=seconds: [f"images {now} s of a long time", "binaries"])  # type: ignore[misc]
        shown.say("done")
        shown.clear()
        shown.say("end")
        text = ""
        while not text.endswith("end\r\n"):
            text += os.read(ours, 4096).decode()
    os.close(ours)
    erase = "\x1b[2A\r\x1b[J"
    lines = [f"images {second} s of a lon\r\nbinaries\r\n" for second in (1, 2)]
    assert text == f"{lines[0]}{erase}{lines[1]}{erase}done\r\n{lines[1]}{erase}end\r\n"
