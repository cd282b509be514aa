"""`python -m mens_operator`: run the operator with the settings of the environment."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys

from mens.artifacts import s3
from mens_operator import app, settings


def run() -> int:
    """Run; returns the exit code."""
    try:
        chosen = settings.from_environment(os.environ)
        # The queue tries again; a reconcile must not wait for the store's own patience.
        said = s3.settings_from_env(os.environ)
        impatient = dataclasses.replace(said, connect_timeout=2.0, read_timeout=5.0, attempts=1)
        source = s3.S3Store(impatient)
    except (settings.SettingsError, ValueError) as error:
        print(f"mens-operator: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=chosen.log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # kopf says each event it passes on; what matters is said by us.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    return asyncio.run(app.main(chosen, source))


if __name__ == "__main__":
    sys.exit(run())
