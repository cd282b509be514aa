"""Clusters for this room's tests, and goldens for what the tool writes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"

Matches = Callable[[str, str], None]


@pytest.fixture
def matches_golden() -> Matches:
    """Compares a text with golden/NAME; UPDATE_GOLDEN=1 writes it instead."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text)
        assert path.read_text() == text, f"{name} differs; UPDATE_GOLDEN=1 accepts it"

    return compare


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a run root of the test's own, with no cluster of the user's in sight."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MENS_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("MENS_CLUSTER", "embedded")
    return tmp_path
