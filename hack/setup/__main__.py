"""Command line: `python -m hack.setup init|demo|test|lock`."""

from __future__ import annotations

import argparse
import os
import sys

from hack.cluster import errors, external, preflight
from hack.setup import environment, plans, running


def main() -> int:
    """Run one goal; the exit status is 0 when every step of it ended well."""
    parser = argparse.ArgumentParser(prog="python -m hack.setup", description=__doc__)
    parser.add_argument(
        "goal",
        choices=["init", "demo", "test", "lock"],
        help="init: the virtual environment; demo, test: all that they need; "
        "lock: compile requirements/*.txt anew",
    )
    goal = parser.parse_args().goal
    if goal == "init":
        environment.make()
        return 0
    if goal == "lock":
        environment.lock()
        return 0
    if goal == "demo":
        preflight.require("e2e")
    else:
        external.isolate(os.environ)
        preflight.install_packages("e2e")
    return running.run(plans.steps_for(goal), title=f"setup for {goal}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except errors.ClusterError as error:
        sys.exit(str(error))
