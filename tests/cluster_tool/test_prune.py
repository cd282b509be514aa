"""What pruning deletes, and what it must not delete under somebody's hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hack.cluster import gobuild, prune
from hack.images import __main__ as images
from hack.support import locks


def test_packages_are_not_deleted_under_a_running_build(
    roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go while pruning holds the build's lock, so that no build can begin beside it."""
    taken: list[int | None] = []
    lock = roots / "cache" / "build.lock"
    monkeypatch.setattr(gobuild, "forget_packages", lambda: taken.append(locks.try_hold(lock)))
    list(prune.prune())
    assert taken == [None]


def test_kept_images_go_when_no_cluster_uses_them(
    roots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are links to what is removed: as long as they stay, no space is freed."""
    kept = roots / "cache" / "containerd"
    kept.mkdir(parents=True)
    using = locks.try_hold(roots / "cache" / "containerd.lock")
    assert using is not None
    assert images.main(["prune"]) == 0
    assert kept.exists()
    assert "kept for the next cluster" not in capsys.readouterr().out
    os.close(using)
    assert images.main(["prune"]) == 0
    assert not kept.exists()
    assert "kept for the next cluster" in capsys.readouterr().out
