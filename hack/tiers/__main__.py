"""Command line: `python -m hack.tiers setup|run|preflight [unit scenario …]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import external, preflight
from hack.setup import capabilities, records
from hack.setup import environment as venv
from hack.support import errors, interrupts, paths
from hack.tiers import budgets, coverage, preparation, results, runner, table, tiers

OUT = paths.REPOSITORY / "out" / "tests"
"""Logs and reports of the tiers."""


def main() -> int:
    """Runs one command and returns its exit status."""
    parser = _parser()
    arguments = parser.parse_args()
    try:
        chosen = tiers.named(arguments.tiers)
    except ValueError as error:
        parser.error(str(error))
    if arguments.command == "setup":
        return preparation.prepare(chosen)
    if arguments.command == "preflight":
        return preparation.print_lacking(chosen)
    setup = records.read() if arguments.after_setup else records.NONE
    return run(chosen, arguments.pytest.split(), setup)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.tiers", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="command")
    commands.add_parser("setup", help="make what the tiers need")
    commands.add_parser("preflight", help="print what this machine lacks for each tier")
    runs = commands.add_parser("run", help="run the tiers and print a table")
    runs.add_argument("--pytest", default="", help="more arguments for pytest, in one word")
    runs.add_argument(
        "--after-setup",
        action="store_true",
        help="rely on what `setup` has just found, and do not check the machine again",
    )
    known = ", ".join(f"{tier.name} ({tier.summary})" for tier in (*tiers.TIERS, tiers.SOAK))
    for each in commands.choices.values():
        each.add_argument(
            "tiers", nargs="*", help=f"all of `make test` by default; choose from {known}"
        )
    return parser


def run(chosen: Sequence[tiers.Tier], words: list[str], setup: records.Record) -> int:
    """Runs tiers and prints the table.

    Args:
        chosen: The tiers.
        words: More arguments for pytest.
        setup: What the setup found.

    Returns:
        0 when every tier that could run passed within its budget, otherwise 1.
    """
    OUT.mkdir(parents=True, exist_ok=True)
    found = {tier.name: result for tier in chosen if (result := unable(tier, setup)) is not None}
    runnable = [tier for tier in chosen if tier.name not in found]
    by_name = {tier.name: tier for tier in runnable}
    slower = budgets.slowdown() if runnable else 1.0

    def ended(job: runner.Job, outcome: runner.Outcome) -> str:
        found[job.name] = result = _result(by_name[job.name], job, outcome)
        return _summary(result, job)

    memory = preflight.memory_available(Path("/proc/meminfo").read_text())
    lanes = runner.lanes(shared=os.environ.get("MENS_CLUSTER") in external.FOREIGN)
    runner.Runner(lanes, memory, ended).run([job_of(tier, words) for tier in runnable])
    ordered = [found[tier.name] for tier in chosen]
    over = budgets.exceeded(ordered, slower)
    low = coverage.below_floor([one.tier.name for one in ordered if one.outcome == "passed"], OUT)
    sys.stdout.write(table.render(ordered, over))
    failed = any(one.broken or one.outcome == "failed" for one in ordered)
    return 1 if failed or over or low else 0


def unable(tier: tiers.Tier, setup: records.Record) -> results.Result | None:
    """Returns the result of a tier that cannot run; None when it can."""
    if tier.name in setup.broken:
        return results.Result(tier, "NOT RUN", note=setup.broken[tier.name], broken=True)
    missing = setup.lacking.get(tier.name)
    if missing is None and setup is records.NONE:
        missing = "; ".join(capabilities.lacking(tier.preflight))
    return results.Result(tier, "NOT RUN", note=missing) if missing else None


def job_of(tier: tiers.Tier, words: Sequence[str] = ()) -> runner.Job:
    """Returns the pytest process of a tier."""
    report = OUT / f"{tier.name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-m", tier.markers, f"--junit-xml={report}"]
    command += ["-n", str(tier.workers), *coverage.arguments(tier.name), *tier.paths, *words]
    return runner.Job(
        tier.name,
        tuple(command),
        OUT / f"{tier.name}.log",
        seconds=tier.minutes * 60,
        weight=tier.budget,
        memory=preflight.RUN_MEMORY.get(tier.preflight, preflight.GIB),
        nice=tier.computes,
        environment=environment(tier),
    )


def environment(tier: tiers.Tier) -> dict[str, str]:
    """Returns the environment of a tier: no model hub, and not the user's cluster."""
    ours = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    external.isolate(ours)
    # Only one cluster at a time can use the kept images, and only e2e needs them.
    if tier.name != "e2e":
        ours["MENS_CONTAINERD"] = str(OUT / "containerd")
    if ours.pop("PYTHONDONTWRITEBYTECODE", ""):
        # Without bytecode each process compiles all it imports again, and tests start hundreds of
        # processes. The user wants none in the checkout, so it is kept with the environment.
        ours["PYTHONPYCACHEPREFIX"] = str(venv.VENV / "bytecode")
    return ours | coverage.environment(tier.name, OUT) | dict(tier.environment)


def _result(tier: tiers.Tier, job: runner.Job, outcome: runner.Outcome) -> results.Result:
    if outcome.code is None:
        note = f"interrupted after {tier.minutes} minutes, its time limit"
        return results.Result(tier, "failed", outcome.seconds, note=note)
    return results.judge(tier, outcome.code, outcome.seconds, job.log.with_suffix(".xml"))


def _summary(result: results.Result, job: runner.Job) -> str:
    mark = {"passed": "✓", "failed": "✗"}.get(result.outcome, "-")
    counts = f"{result.passed} passed, {result.failed} failed, {result.skipped} skipped"
    line = f"  {mark} {job.name}: {counts} in {result.seconds:.0f} s"
    if result.outcome != "failed":
        return line
    return f"{line}\n{runner.failures(job.log)}\n  the whole log: {job.log}"


if __name__ == "__main__":
    interrupts.install()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: every test process and all it started were ended")
    except errors.ToolError as failure:
        sys.exit(str(failure))
