"""The stages of the demo: what they took, and what they take when there is work to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.demo import console
from hack.support import durations


def run(stages: console.Stages) -> console.Stages:
    with stages.stage("images", "Build images"):
        pass
    stages.keep()
    return stages


def test_a_warm_stage_keeps_the_duration_of_a_cold_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the first warm run would promise 0 s for what takes minutes."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path))
    durations.Durations("demo").remember("images", 71.4)
    run(console.Stages())
    run(console.Stages())
    assert capsys.readouterr().out.count("==> Build images (last time 71 s)") == 2


def test_a_stage_shows_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that one sees how much is left."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path))
    run(console.Stages(["cluster", "images", "ask"]))
    assert "==> 2 of 3: Build images\n" in capsys.readouterr().out


def test_setup_time_is_part_of_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures show the cold cost; the next run's expectation is of the stage alone."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path))
    stages = console.Stages()
    stages.seconds["images"] = 262.0
    assert run(stages).seconds["images"] == 262.0
    assert console.Stages().durations.last("images") is None
