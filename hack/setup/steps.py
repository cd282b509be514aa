"""The steps of the setup as data: what happens on a bare machine, and in which order."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from hack.cluster import toolsets
from hack.setup import environment
from hack.setup.runner import Step

PYTHON = sys.executable
"""The system's Python: these steps need nothing installed."""
VENV_PYTHON = str(environment.python())
"""The environment's Python, for steps after `environment`."""

ENVIRONMENT = Step("environment", "Python environment", (PYTHON, "-m", "hack.setup", "init"))
_BUILD = (PYTHON, "-m", "hack.cluster", "build")
BINARIES = Step("binaries", "Kubernetes from source", (*_BUILD, *toolsets.NODE))
IMAGES = Step(
    "images",
    "container images",
    (PYTHON, "-m", "hack.images", "build"),
    needs=("environment",),
)
MODEL = Step(
    "model",
    "base model",
    (VENV_PYTHON, "-m", "hack.demo", "model"),
    needs=("environment",),
)
KWOK = Step("kwok", "kwok from source", (*_BUILD, "kwok"))
ALL = (ENVIRONMENT, BINARIES, IMAGES, MODEL, KWOK)
"""Every step; `needs` alone gives the order."""


def for_demo(build: Sequence[str]) -> list[Step]:
    """Returns the demo's steps; for a cluster of the user's, only missing clients are built.

    Args:
        build: Names of toolsets.
    """
    binaries = dataclasses.replace(BINARIES, command=(*_BUILD, *build))
    return [ENVIRONMENT, *([binaries] if build else []), IMAGES, MODEL]
