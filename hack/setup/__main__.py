"""Command line: `python -m hack.setup init|demo|test [tier …]|lock`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from hack.cluster import errors, external, preflight
from hack.setup import capabilities, environment, interrupts, plans, records, running
from hack.tiers import tiers


def main() -> int:
    """Run one goal; the exit status is 0 when what must follow it can follow."""
    parser = argparse.ArgumentParser(prog="python -m hack.setup", description=__doc__)
    parser.add_argument(
        "goal",
        choices=["init", "demo", "test", "lock"],
        help="init: the virtual environment; demo, test: all that they need; "
        "lock: compile requirements/*.txt anew",
    )
    parser.add_argument("tiers", nargs="*", help="for which tiers `test` is, all by default")
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
    else:
        return test(chosen)
    return 0


def demo() -> int:
    """Make all ready; nothing of it can be missing."""
    began = time.time()
    capabilities.require("e2e")
    outcome = running.run(plans.STEPS, title="setup for the demo")
    records.write(records.Record(began, outcome.seconds, outcome.failed))
    return 1 if outcome.failed else 0


def test(chosen: Sequence[tiers.Tier]) -> int:
    """Make ready what the tiers need that this machine allows, and leave a record for their runner.

    Only without the environment nothing can run: whatever else fails costs the tiers that need it.
    """
    began = time.time()
    external.isolate(os.environ)
    failed = _install(chosen)
    lacking = {}
    for tier in chosen:
        said = capabilities.lacking(tier.needs) if tier.needs else []
        if said:
            lacking[tier.name] = "; ".join(said)
    steps = plans.for_tiers(tier for tier in chosen if tier.name not in lacking)
    bearable = {step.name for step in plans.STEPS} - {plans.ENVIRONMENT.name}
    outcome = running.run(steps, title="setup for the tests", bearable=bearable)
    record = records.Record(began, outcome.seconds, {**failed, **outcome.failed}, lacking)
    records.write(record)
    return 1 if plans.ENVIRONMENT.name in outcome.failed else 0


def _install(chosen: Sequence[tiers.Tier]) -> dict[str, str]:
    try:
        preflight.install_packages(*(tier.needs or "unit" for tier in chosen))
    except errors.ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return {plans.PACKAGES: " ".join(str(error).split())}
    return {}


if __name__ == "__main__":
    interrupts.install()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: what the setup had started was ended; run it again to go on")
    except errors.ClusterError as error:
        sys.exit(str(error))
