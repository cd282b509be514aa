"""`python -m mens_trainer`: without arguments the job of MENS_JOB, with arguments for people."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from mens.runtime import process


def main() -> int:
    """Choose between the job and the command line."""
    # Read once, when torch loads its OpenMP. Threads that wait by spinning burn the processor that
    # a neighbor would need to finish: 3 to 5 times slower on a shared machine [measured], and no
    # gain on a free one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from mens_trainer import command, job  # noqa: PLC0415  # after the environment is set

    process.configure_logging()
    if len(sys.argv) == 1:
        code = job.main()
        logging.shutdown()
        # Python would wait for transfers that still run in threads, longer than the grace period;
        # everything that must survive is written by now.
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
