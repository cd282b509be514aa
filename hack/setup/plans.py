"""Which steps a goal needs: plain data, so that what happens on a bare machine can be read here."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence

from hack.cluster import toolsets
from hack.setup import environment
from hack.setup.runner import Step
from hack.tiers import tiers

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
STEPS = (ENVIRONMENT, BINARIES, IMAGES, MODEL)
"""All there are; the order is only what `needs` says."""


def for_demo(build: Sequence[str]) -> list[Step]:
    """All steps; on a cluster of somebody else only the programs that are not there are built.

    Args:
        build: Families of Go programs.
    """
    binaries = dataclasses.replace(BINARIES, command=(*_BUILD, *build))
    return [binaries if one is BINARIES else one for one in STEPS if build or one is not BINARIES]


def for_tiers(chosen: Iterable[tiers.Tier]) -> list[Step]:
    """Steps of these tiers; the environment is one of every tier's."""
    names = {ENVIRONMENT.name, *(name for tier in chosen for name in tier.steps)}
    return [step for step in STEPS if step.name in names]


def broken(chosen: Iterable[tiers.Tier], failed: Mapping[str, str]) -> dict[str, str]:
    """Tiers that cannot run without what failed, with why.

    Args:
        chosen: The tiers whose steps were run.
        failed: Step -> why it failed.
    """
    why = {
        tier.name: "; ".join(failed[step] for step in tier.steps if step in failed)
        for tier in chosen
    }
    return {name: said for name, said in why.items() if said}
