"""Which steps a goal needs: plain data, so that what happens on a bare machine can be read here."""

from __future__ import annotations

import sys

from hack.setup import capabilities, environment
from hack.setup.running import Step

PYTHON = sys.executable
"""The system's Python: these steps need nothing installed."""
VENV_PYTHON = str(environment.python())
"""The environment's Python, for steps after `environment`."""
CLUSTER_FAMILIES = ("k8s", "etcd", "coredns", "helm")
"""Go programs that the demo and the tests need; others are built when a target asks."""

ENVIRONMENT = Step(
    "environment", "Python environment (torch: 5 GB)", (PYTHON, "-m", "hack.setup", "init")
)
BINARIES = Step(
    "binaries",
    "Kubernetes, etcd, CoreDNS and Helm from source",
    (PYTHON, "-m", "hack.cluster", "build", *CLUSTER_FAMILIES),
)
IMAGES = Step(
    "images",
    "container images",
    (PYTHON, "-m", "hack.images", "build"),
    needs=("environment",),
)
MODEL = Step(
    "model",
    "SmolLM2-135M-Instruct as safetensors",
    (VENV_PYTHON, "-m", "hack.demo", "model"),
    needs=("environment",),
)


def steps_for(goal: str) -> list[Step]:
    """Steps of a goal; the order is only what `needs` says.

    `demo` needs everything. `test` leaves out what serves only tiers that this machine cannot run:
    the runner of the tiers says so in its table.
    """
    if goal == "demo":
        return [ENVIRONMENT, BINARIES, IMAGES, MODEL]
    steps = [ENVIRONMENT, MODEL]
    if not capabilities.lacking("node"):
        steps.append(BINARIES)
    if not capabilities.lacking("e2e"):
        steps.append(IMAGES)
    return steps
