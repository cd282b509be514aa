"""`python -m mens_trainer`: runs the job in MENS_JOB; with arguments, a command line."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from mens.runtime import process


def main() -> int:
    """Run the job, or the command that the arguments name."""
    # torch reads this once, when it loads OpenMP. Spinning threads take CPU time that a neighbor
    # needs to finish: 3 to 5 times slower on a shared machine [measured], and no gain on an idle
    # one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from mens_trainer import command, job  # noqa: PLC0415  # after the environment is set

    process.configure_logging()
    if len(sys.argv) == 1:
        code = job.main()
        logging.shutdown()
        # Python would wait for transfers that still run in threads, longer than the grace period;
        # everything that must survive has been written.
        os._exit(code)
    parser = argparse.ArgumentParser(
        prog="python -m mens_trainer",
        description="Without arguments: train the adapter that MENS_JOB describes.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command.add_train(commands)
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
