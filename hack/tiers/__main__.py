"""Run test tiers: `python -m hack.tiers [unit scenario …]`; ends with a table and a status."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from hack.cluster import external, lifecycle
from hack.setup import capabilities, records
from hack.support import errors, interrupts
from hack.tiers import tiers

ROOT = Path(__file__).resolve().parents[2]
TEARDOWN_SECONDS = 60
"""How long an interrupted pytest may take to end its clusters and servers."""
NO_TESTS_COLLECTED = 5
"""pytest's exit status for a selection without a test: a tier without tests is a defect."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one tier."""

    tier: tiers.Tier
    outcome: str
    """passed, failed, or NOT RUN."""
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""
    """Why it did not run, or what to look at."""
    reasons: tuple[str, ...] = ()
    """Why tests were skipped, each with how many."""
    broken: bool = False
    """Whether it did not run though the machine allows it: then the whole run has failed."""


def main() -> int:
    """Run the tiers, print the table; 0 when everything that could run passed."""
    parser = argparse.ArgumentParser(prog="python -m hack.tiers", description=__doc__)
    known = ", ".join(f"{tier.name} ({tier.says})" for tier in tiers.TIERS)
    parser.add_argument("tiers", nargs="*", help=f"which tiers, all by default: {known}")
    parser.add_argument("--pytest", default="", help="further words for pytest, as one string")
    parser.add_argument(
        "--after-setup", action="store_true", help="what `hack.setup test` has just said counts"
    )
    arguments = parser.parse_args()
    try:
        chosen = tiers.named(arguments.tiers)
    except ValueError as error:
        parser.error(str(error))
    out = ROOT / "out" / "tests"
    out.mkdir(parents=True, exist_ok=True)
    setup = records.read() if arguments.after_setup else records.NONE
    results = [run_tier(tier, out, arguments.pytest.split(), setup) for tier in chosen]
    sys.stdout.write(table(results))
    return 1 if any(result.broken or result.outcome == "failed" for result in results) else 0


def run_tier(
    tier: tiers.Tier, out: Path, words: list[str], setup: records.Record = records.NONE
) -> Result:
    """Run one tier as one pytest process, or say why it cannot run."""
    if tier.name in setup.broken:
        return Result(tier, "NOT RUN", note=setup.broken[tier.name], broken=True)
    missing = setup.lacking.get(tier.name)
    if missing is None and tier.needs:
        missing = "; ".join(capabilities.lacking(tier.needs))
    if missing:
        return Result(tier, "NOT RUN", note=missing)
    sys.stdout.write(f"\n=== {tier.name}: {tier.says}\n")
    sys.stdout.flush()
    report = out / f"{tier.name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-m", tier.markers, f"--junit-xml={report}"]
    command += ["-n", str(tier.workers), *tier.paths, "--durations=5", *words]
    began = time.monotonic()
    code = run_bounded(command, tier.minutes * 60)
    seconds = time.monotonic() - began
    if code is None:
        return Result(tier, "failed", seconds, note=f"ended after {tier.minutes} minutes")
    return judged(tier, code, seconds, report)


def run_bounded(command: list[str], seconds: float) -> int | None:
    """Run a command; its status, or None when it took too long.

    Whatever ends us, and at the end of its time, it gets one interrupt and a minute to end what it
    started; `subprocess.run` would kill it a quarter of a second later, and its cluster would live
    on. In a session of its own, as a terminal's Ctrl-C beside ours would cut its cleaning up short.
    """
    started: list[subprocess.Popen[bytes]] = []
    try:
        with interrupts.deferred():
            started.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        return started[0].wait(seconds)
    except subprocess.TimeoutExpired:
        _end(started)
        return None
    except BaseException:
        _end(started)
        raise


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    interrupts.end(started, TEARDOWN_SECONDS)
    try:
        lifecycle.end_orphans()
    except errors.ClusterError as error:
        sys.stderr.write(f"{error}\n")


def judged(tier: tiers.Tier, code: int, seconds: float, report: Path) -> Result:
    """What pytest's status and report mean; a tier all of whose tests were skipped did not run."""
    passed, failed, skipped = _counts(report)
    reasons = _reasons(report)
    note = f"see {report.name}" if code else ""
    outcome = "passed" if code == 0 else "failed"
    if code == NO_TESTS_COLLECTED:
        note = "no test was found: that is a defect of the tier"
    elif code == 0 and not passed:
        outcome, note = "NOT RUN", "; ".join(reasons) or "nothing in it ran"
    return Result(tier, outcome, seconds, passed, failed, skipped, note, reasons)


def _environment() -> dict[str, str]:
    """Nothing may ask a model hub or touch the user's cluster."""
    ours = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    external.isolate(ours)
    return ours


def _reasons(report: Path) -> tuple[str, ...]:
    """Why tests were skipped, the most frequent first."""
    found = collections.Counter(skip.get("message", "") for skip in _parsed(report).iter("skipped"))
    return tuple(f"{count} x {reason}" for reason, count in found.most_common())


def _parsed(report: Path) -> ElementTree.Element:
    """The report of the pytest that we just ran; empty where it came to no end."""
    try:
        return ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return ElementTree.Element("testsuites")


def _counts(report: Path) -> tuple[int, int, int]:
    suites = list(_parsed(report).iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return total - failed - skipped, failed, skipped


def table(results: list[Result]) -> str:
    """The table of the tiers, and a closing line with the sums."""
    lines = [
        "",
        f"{'tier':10} {'outcome':8} {'passed':>7} {'failed':>7} {'skipped':>8} {'time':>8}",
    ]
    for one in results:
        row = f"{one.tier.name:10} {one.outcome:8} {one.passed:7} {one.failed:7} {one.skipped:8}"
        lines.append(f"{row} {one.seconds:6.0f} s" + (f"  {one.note}" if one.note else ""))
    quiet = [one for one in results if one.outcome == "NOT RUN"]
    for one in quiet:
        why = "BECAUSE ITS SETUP FAILED" if one.broken else "on this machine"
        lines.append(f"!!! tier {one.tier.name} DID NOT RUN {why}: {one.note}")
    for one in results:
        if one.outcome != "NOT RUN":
            lines += [f"!!! tier {one.tier.name} skipped {reason}" for reason in one.reasons]
    sums = [sum(getattr(one, key) for one in results) for key in ("passed", "failed", "skipped")]
    lines += ["", f"{sums[0]} passed, {sums[1]} failed, {sums[2]} skipped"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    interrupts.install()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: the tests were ended, and what they had started")
