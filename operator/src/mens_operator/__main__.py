"""Run the operator with the settings of the environment (MENS_*, AWS_*), as the chart sets them.

Required: MENS_IMAGE_CORPUS, MENS_IMAGE_TRAINER, MENS_IMAGE_SERVER, MENS_OUTPUT_BUCKET. Without
KUBERNETES_SERVICE_HOST it connects by KUBECONFIG.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import sys

from mens.artifacts import s3
from mens_operator import app, settings


def run() -> int:
    """Run; returns the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(
        prog="python -m mens_operator", description=__doc__, formatter_class=form
    ).parse_args()
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
