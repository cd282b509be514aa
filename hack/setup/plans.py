"""Which steps a goal needs: plain data, so that what happens on a bare machine can be read here."""

from __future__ import annotations

import sys

from hack.setup import environment
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
PACKAGES = Step(
    "packages", "system packages", (PYTHON, "-m", "hack.cluster", "preflight", "--install")
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
    needs=("packages", "environment"),
)
MODEL = Step(
    "model",
    "SmolLM2-135M-Instruct as safetensors",
    (VENV_PYTHON, "-m", "hack.demo", "model"),
    needs=("environment",),
)


def steps_for(goal: str) -> list[Step]:
    """Steps of a goal; the order is only what `needs` says."""
    if goal == "demo":
        return [PACKAGES, ENVIRONMENT, BINARIES, IMAGES, MODEL]
    if goal == "test":
        return [PACKAGES, ENVIRONMENT, BINARIES, IMAGES, MODEL]
    raise ValueError(f"unknown goal {goal!r}")
