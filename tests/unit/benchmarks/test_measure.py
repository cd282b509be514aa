"""The benchmarks' own rules: their folders, their table, and their last line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import measure

ROOT = Path(__file__).resolve().parents[3]
AREAS = sorted(path.parent.name for path in (ROOT / "benchmarks").glob("*/__main__.py"))
ROW = measure.Row("copy 1 MiB", ours=1.0, peer=2.0, ours_wall=3.0, peer_wall=4.0, note="hashes")


def test_ratio_compares_processor_seconds() -> None:
    """Below 1, Mens needs less."""
    assert ROW.ratio == 0.5


def test_last_line_is_json() -> None:
    """A program reads the last line; a person reads the table above it."""
    lines = measure.report("files", "cp", [ROW], rounds=3).splitlines()
    data = json.loads(lines[-1])
    assert (data["area"], data["peer"], data["rounds"]) == ("files", "cp", 3)
    assert data["rows"][0]["job"] == "copy 1 MiB"
    assert data["rows"][0]["ratio"] == 0.5
    assert "copy 1 MiB: hashes" in lines


def test_both_sides_run_in_every_round() -> None:
    """Alternately, after one round of warming up."""
    calls: list[str] = []
    measure.compare(
        "x", ours=lambda: calls.append("ours"), peer=lambda: calls.append("peer"), rounds=2
    )
    assert calls == ["ours", "peer"] * 3


def test_zero_rounds_are_rejected() -> None:
    """A median of nothing would be a made-up number."""
    with pytest.raises(ValueError, match="rounds is 0: at least 1"):
        measure.compare("x", ours=lambda: None, peer=lambda: None, rounds=0)


@pytest.mark.parametrize("area", AREAS)
def test_every_area_has_a_target_and_a_row(area: str) -> None:
    """`make bench-<area>` starts it, and the README says what it compares."""
    assert re.search(rf"^bench-{area}: .*## ", (ROOT / "Makefile").read_text(), re.M)
    assert f"| [{area}]({area}/__main__.py) |" in (ROOT / "benchmarks" / "README.md").read_text()


def test_there_are_benchmarks() -> None:
    """An empty folder must not pass as tested."""
    assert AREAS
