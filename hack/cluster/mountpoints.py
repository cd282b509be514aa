"""Host folders that a sandbox mounts its own over: made where missing, removed with the last.

A mount needs a folder to cover, also on a machine that never had kubelet. Removing such a folder
on the host would silently take away the mount of every other sandbox, so that is done only when
no cluster is left, under the lock that also covers the start of a sandbox.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hack.cluster import clusters, folders
from hack.support import locks


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Keeps every other run from making or removing mount points meanwhile."""
    with locks.held(_lock()):
        yield


def ensure(folders: Sequence[str]) -> None:
    """Makes the missing folders and remembers which were made; call it guarded."""
    made = created()
    for folder in map(Path, folders):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir()
            made.append(each)
    _record().write_text("".join(f"{each}\n" for each in made))


def remove_if_unused() -> None:
    """Removes the folders that were made for clusters, once none lives."""
    with guarded():
        if any(cluster.alive() for cluster in map(clusters.load, clusters.names()) if cluster):
            return
        for folder in reversed(created()):
            # Something else may have put a file there meanwhile: then the folder is its own.
            with contextlib.suppress(OSError):
                folder.rmdir()
        _record().unlink(missing_ok=True)


def created() -> list[Path]:
    """Returns the folders that are there only because of us, in the order they were made."""
    try:
        return [Path(line) for line in _record().read_text().splitlines()]
    except FileNotFoundError:
        return []


def _record() -> Path:
    return folders.run_root() / ".mountpoints"


def _lock() -> Path:
    return folders.run_root() / ".mountpoints.lock"
