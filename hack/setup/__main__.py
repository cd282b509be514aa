"""Command line: `python -m hack.setup init|demo|lock`."""

from __future__ import annotations

import argparse
import sys
import time

from hack.cluster import external, preflight, toolsets
from hack.setup import capabilities, environment, records, runner, steps
from hack.support import errors, interrupts


def main() -> int:
    """Runs one goal; the exit status is 0 when what depends on it can run."""
    parser = argparse.ArgumentParser(prog="python -m hack.setup", description=__doc__)
    parser.add_argument(
        "goal",
        choices=["init", "demo", "lock"],
        help="init: the virtual environment; demo: everything that the demo needs; "
        "lock: compile requirements/*.txt again",
    )
    goal = parser.parse_args().goal
    if goal == "init":
        environment.make()
    elif goal == "lock":
        environment.lock()
    else:
        return demo()
    return 0


def demo() -> int:
    """Makes everything that the demo needs; nothing of it is optional."""
    began = time.time()
    theirs = external.find()
    preflight.install_packages("e2e" if theirs is None else "images")
    capabilities.require("e2e")
    build = toolsets.NODE if theirs is None else external.lacking(theirs)
    outcome = runner.run(steps.for_demo(build), title="setup for the demo")
    records.write(records.Record(began, outcome.seconds))
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    interrupts.install()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: every step was ended; run the command again to resume")
    except errors.ToolError as error:
        sys.exit(str(error))
