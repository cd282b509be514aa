"""Command line: `python -m hack.setup init|demo|test|preflight|lock [tier …]`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from hack.cluster import external, preflight, toolsets
from hack.setup import capabilities, environment, plans, records, runner
from hack.support import errors, interrupts
from hack.tiers import tiers


def main() -> int:
    """Run one goal; the exit status is 0 when what must follow it can follow."""
    parser = argparse.ArgumentParser(prog="python -m hack.setup", description=__doc__)
    parser.add_argument(
        "goal",
        choices=["init", "demo", "test", "preflight", "lock"],
        help="init: the virtual environment; demo, test: all that they need; "
        "preflight: only say what is lacking; lock: compile requirements/*.txt anew",
    )
    parser.add_argument(
        "tiers", nargs="*", help="for which tiers `test` and `preflight` are, all by default"
    )
    arguments = parser.parse_args()
    try:
        chosen = tiers.named(arguments.tiers)
    except ValueError as error:
        parser.error(str(error))
    if arguments.goal == "init":
        environment.make()
    elif arguments.goal == "lock":
        environment.lock()
    elif arguments.goal == "demo":
        return demo()
    elif arguments.goal == "preflight":
        return say_what_is_lacking(chosen)
    else:
        return test(chosen)
    return 0


def demo() -> int:
    """Make all ready; nothing of it can be missing."""
    began = time.time()
    theirs = external.find()
    preflight.install_packages("e2e" if theirs is None else "images")
    capabilities.require("e2e")
    build = toolsets.NODE if theirs is None else external.lacking(theirs)
    outcome = runner.run(plans.for_demo(build), title="setup for the demo")
    records.write(records.Record(began, outcome.seconds))
    return 1 if outcome.failed else 0


def test(chosen: Sequence[tiers.Tier]) -> int:
    """Make ready what the tiers need that this machine allows, and leave a record for their runner.

    Only without the environment nothing can run: whatever else fails costs the tiers that need it.
    """
    began = time.time()
    external.isolate(os.environ)
    apt = _install(chosen)
    broken = {tier.name: apt for tier in chosen if apt and preflight.missing_packages(needs(tier))}
    lacking = {}
    for tier in chosen:
        said = capabilities.lacking(needs(tier)) if tier.name not in broken else []
        if said:
            lacking[tier.name] = "; ".join(said)
    allowed = [tier for tier in chosen if tier.name not in {*broken, *lacking}]
    bearable = {step.name for step in plans.STEPS} - {plans.ENVIRONMENT.name}
    outcome = runner.run(plans.for_tiers(allowed), title="setup for the tests", bearable=bearable)
    broken |= plans.broken(allowed, outcome.failed)
    records.write(records.Record(began, outcome.seconds, broken, lacking))
    return 1 if plans.ENVIRONMENT.name in outcome.failed else 0


def say_what_is_lacking(chosen: Sequence[tiers.Tier]) -> int:
    """For each tier whether it can run here, and if not why and what to do."""
    external.isolate(os.environ)
    lacking = {tier.name: capabilities.lacking(needs(tier)) for tier in chosen}
    for name, said in lacking.items():
        lines = [f"✗ {name}", *(f"    {one}" for one in said)] if said else [f"✓ {name}"]
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if any(lacking.values()) else 0


def needs(tier: tiers.Tier) -> str:
    """The tier's name in the preflight."""
    return tier.needs or "unit"


def _install(chosen: Sequence[tiers.Tier]) -> str:
    """Install Debian packages; why that failed, empty when it did not."""
    try:
        preflight.install_packages(*(needs(tier) for tier in chosen))
    except errors.ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return " ".join(str(error).split())
    return ""


if __name__ == "__main__":
    interrupts.install()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: what the setup had started was ended; run it again to go on")
    except errors.ClusterError as error:
        sys.exit(str(error))
