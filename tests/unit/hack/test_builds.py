"""What an interrupted build leaves: nothing that it could clean up itself, and no credentials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hack.images import buildah

RUNS = """
import pathlib, signal
from hack.support import commands
signal.signal(signal.SIGINT, signal.default_int_handler)
commands.run(["bash", "-c", {script!r}], pathlib.Path({log!r}))
"""


def test_an_interrupted_build_may_clean_up(tmp_path: Path) -> None:
    """mmdebstrap unmounts and deletes for longer than the 0.25 s that Python gives it."""
    log, cleaned = tmp_path / "log", tmp_path / "cleaned"
    script = (
        f"trap 'sleep 0.6; touch {cleaned}; exit 1' INT; echo begun; while :; do sleep 0.1; done"
    )
    build = subprocess.Popen(
        [sys.executable, "-c", RUNS.format(script=script, log=str(log))],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while (
        not (log.exists() and log.read_text().endswith("begun\n")) and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    os.killpg(build.pid, signal.SIGINT)
    assert build.wait(20) != 0
    assert cleaned.exists()


def test_the_next_build_deletes_the_files_of_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index's credentials among them; the store itself stays."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path))
    left = [tmp_path / name for name in ("images/pip-1", "images/base-2", "images/archive-3")]
    # uv's cache may lie in the same folder, and has names of this form.
    for folder in (*left, tmp_path / "images" / "storage", tmp_path / "archive-v0"):
        folder.mkdir(parents=True)
        (folder / "pip.conf").write_text("index-url = https://user:secret@mirror.test")
    with buildah.opened():
        assert [folder for folder in left if folder.exists()] == []
    assert (tmp_path / "images" / "storage" / "pip.conf").exists()
    assert (tmp_path / "archive-v0" / "pip.conf").exists()
