"""Deletes outdated files from the cache; running clusters keep what they use."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hack.cluster import clusters, folders, gobuild, toolsets
from hack.support import errors, locks, paths, progress


def prune(*, images: bool = False) -> Iterator[str]:
    """Deletes old programs, compiled packages and dead clusters' data; yields what it did.

    Args:
        images: Also delete the kept container store, if no cluster uses it.
    """
    with locks.held(paths.cache() / "build.lock", _waiting):
        yield from _programs()
        # A build that runs reads and writes these all the time.
        gobuild.forget_packages()
    yield "deleted compiled Go packages"
    yield from _scratch()
    if images:
        if not forget_images():
            raise errors.ToolError("a cluster uses the kept images: end it first")
        yield "deleted the kept container images"


def forget_images() -> bool:
    """Deletes the kept container store; returns False if a cluster uses it."""
    lock = locks.try_hold(folders.container_store().with_suffix(".lock"))
    if lock is None:
        return False
    try:
        shutil.rmtree(folders.container_store(), ignore_errors=True)
    finally:
        # Closing releases the lock.
        os.close(lock)
    return True


def _waiting() -> None:
    progress.say("waiting: another process builds the programs")


def _programs() -> Iterator[str]:
    current = {gobuild.target(toolset) for toolset in toolsets.TOOLSETS.values()}
    used = {folder for name in clusters.names() for folder in _folders(name)}
    for folder in sorted((paths.cache() / "bin").glob("*-*")):
        if folder not in current | used:
            shutil.rmtree(folder)
            yield f"deleted {folder}"


def _folders(name: str) -> set[Path]:
    """Returns the program folders that a running cluster uses."""
    cluster = clusters.load(name)
    return set() if cluster is None else {cluster.kubectl.parent, cluster.helm.parent}


def _scratch() -> Iterator[str]:
    for folder in sorted((paths.cache() / "scratch").glob("*")):
        # The run folder exists before the record: a cluster that is starting keeps its data.
        if not folders.run(folder.name).exists():
            shutil.rmtree(folder)
            yield f"deleted {folder}"
