"""Where things lie: what is kept between runs (cache) and what one cluster has while it lives."""

import os
import re
from pathlib import Path

from hack.support.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout; PID 1 of a sandbox imports this package from here."""

MODULES = REPOSITORY / "hack" / "cluster" / "modules"
"""One folder per tool family, each a Go module of its own, since they pin clashing versions."""


def cache() -> Path:
    """Returns the folder for what costs minutes to make: binaries, images, models, durations.

    MENS_CACHE, else ~/.cache/mens. Always absolute: commands that get it run in other folders.
    """
    return Path(os.environ.get("MENS_CACHE") or "~/.cache/mens").expanduser().absolute()


def run_root() -> Path:
    """Returns the folder that holds one folder per living cluster."""
    return Path(os.environ.get("MENS_RUN") or "/run/mens").expanduser().absolute()


def checked(name: str) -> str:
    """Returns a cluster's name; ClusterError unless it can only ever be one folder's name.

    Folders are removed by it: `/home`, `..` or nothing at all would remove somebody else's.
    """
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", name):
        raise ClusterError(
            f"{name!r} cannot name a cluster: up to 63 of a-z, 0-9, - and ., first and last a "
            "letter or digit"
        )
    return name


def run(name: str) -> Path:
    """Returns a cluster's own folder: sockets, configuration, certificates, logs."""
    return run_root() / checked(name)


def scratch(name: str) -> Path:
    """Returns a cluster's folder for bulky data: etcd and pod volumes.

    It lies in the cache because the run root is often a tmpfs, where a model in an emptyDir
    would be paid for in memory.
    """
    return cache() / "scratch" / checked(name)
