"""Clusters for this room's tests, and goldens for what the tool writes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import goldens

GOLDEN = Path(__file__).parent / "golden"

Matches = Callable[[str, str], None]


@pytest.fixture
def matches_golden(golden: goldens.Golden) -> Matches:
    """Compares a text with the file golden/NAME."""
    return lambda name, text: golden.check(GOLDEN / name, text)


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a run root of the test's own, with no cluster of the user's in sight."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MENS_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("MENS_CLUSTER", "embedded")
    monkeypatch.delenv("MENS_CONTAINERD", raising=False)
    return tmp_path
