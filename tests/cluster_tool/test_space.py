"""The disk space of everything is added up for each file system."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hack.cluster import preflight
from hack.support import space

GB = space.GB
CACHE, HOME = Path("/cache"), Path("/home")


def on_one_disk(free: float) -> Callable[[Path], tuple[int, int]]:
    return lambda _: (1, int(free * GB))


def need(what: str, peak: int, kept: int, folder: Path = CACHE) -> space.Need:
    return space.Need(what, folder, peak * GB, kept * GB)


COLD = [
    need("running it", 0, 6),
    need("sources of Go programs", 3, 3, HOME),
    need("Go programs", 9, 1),
    need("container images", 22, 6),
    need("Python packages", 6, 6, HOME),
]
"""What the demo needs on a bare machine."""


def test_needs_of_steps_side_by_side_are_added() -> None:
    """README's 40 GB: one byte less is said before anything starts, with what takes how much."""
    assert space.shortfalls(COLD, on_one_disk(40)) == []
    [said] = space.shortfalls(COLD, on_one_disk(39))
    assert said.startswith("39 GB free at /cache, 40 GB needed: running it 6, ")
    assert "container images 22" in said


def test_running_needs_space_after_building_not_beside_it() -> None:
    """What builds have given back is there for what runs: no sum of peaks and of that."""
    assert space.shortfalls([need("running it", 0, 6), need("images", 6, 1)], on_one_disk(7)) == []
    assert space.shortfalls([need("running it", 0, 6), need("images", 6, 1)], on_one_disk(6))


def test_each_file_system_has_its_own_sum() -> None:
    """A large cache disk does not help a small home, and the other way round."""
    free = {CACHE: (1, 31 * GB), HOME: (2, 8 * GB)}
    [said] = space.shortfalls(COLD, lambda folder: free[folder])
    assert said == ("8 GB free at /home, 9 GB needed: sources of Go programs 3, Python packages 6")


def test_equal_needs_count_once() -> None:
    """Environment and images take their packages out of the same cache."""
    assert space.shortfalls([need("packages", 6, 6)] * 2, on_one_disk(6)) == []


def test_existing_files_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its programs built, a tier needs room only to run."""
    monkeypatch.setattr(preflight, "_unbuilt", lambda _: False)
    assert [one.what for one in preflight.room("e2e")] == ["running it"]
    monkeypatch.setattr(preflight, "_unbuilt", lambda _: True)
    assert len(preflight.room("e2e")) == 3
