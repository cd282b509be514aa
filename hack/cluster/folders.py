"""Where the files of one embedded cluster are."""

import os
import re
from pathlib import Path

from hack.support import errors, paths


def run_root() -> Path:
    """Returns the folder that holds one folder for each running cluster.

    MENS_RUN, or /run/mens.
    """
    return Path(os.environ.get("MENS_RUN") or "/run/mens").expanduser().absolute()


def checked(name: str) -> str:
    """Returns a cluster's name; ToolError unless it is the name of exactly one folder.

    Folders are deleted by it: `/home`, `..` or an empty name would delete the files of others.
    """
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", name):
        raise errors.ToolError(
            f"{name!r} cannot name a cluster: use up to 63 of a-z, 0-9, - and ., with a letter or "
            "a digit at both ends"
        )
    return name


def run(name: str) -> Path:
    """Returns a cluster's own folder: sockets, configuration, certificates, logs."""
    return run_root() / checked(name)


def scratch(name: str) -> Path:
    """Returns a cluster's folder for large data: etcd and pod volumes.

    It is in the cache because the run root is often a tmpfs, where a model in an emptyDir would
    use memory.
    """
    return paths.cache() / "scratch" / checked(name)


def container_store() -> Path:
    """Returns containerd's root, which keeps images from one cluster to the next.

    MENS_CONTAINERD, or `containerd` in the cache. Only one cluster at a time can use it.
    """
    configured = os.environ.get("MENS_CONTAINERD")
    return Path(configured).absolute() if configured else paths.cache() / "containerd"
