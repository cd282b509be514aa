"""Where things lie: what is kept between runs (cache) and what one cluster has while it lives."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout; PID 1 of a sandbox imports this package from here."""

MODULES = Path(__file__).resolve().parent / "modules"
"""One folder per tool family, each a Go module of its own, since they pin clashing versions."""


def cache() -> Path:
    """Returns the folder for what costs minutes to make: binaries, images, build durations."""
    configured = os.environ.get("MENS_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "mens"


def run_root() -> Path:
    """Returns the folder that holds one folder per living cluster."""
    return Path(os.environ.get("MENS_RUN") or "/run/mens")


def run(name: str) -> Path:
    """Returns a cluster's own folder: sockets, configuration, certificates, logs."""
    return run_root() / name


def scratch(name: str) -> Path:
    """Returns a cluster's folder for bulky data: etcd and pod volumes.

    It lies in the cache because the run root is often a tmpfs, where a model in an emptyDir
    would be paid for in memory.
    """
    return cache() / "scratch" / name
