"""`python -m mens_corpus`: the job of MENS_JOB, or `mens corpus` if it has arguments."""

from __future__ import annotations

import argparse
import sys

from mens.runtime import process
from mens_corpus import command, job


def main() -> int:
    """Run the job without arguments, the command with arguments."""
    process.configure_logging()
    if len(sys.argv) == 1:
        return job.main()
    parser = argparse.ArgumentParser(
        prog="python -m mens_corpus",
        description="Without arguments: build the corpus that MENS_JOB describes.",
    )
    command.add_commands(parser)
    return command.run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
