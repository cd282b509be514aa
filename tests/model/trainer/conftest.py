"""Fixtures of the trainer's tests with real tensors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import models
from tests.unit.trainer import rows


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model; read-only."""
    return models.tiny(tmp_path_factory.mktemp("base"), seed=1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 80 training rows and 8 held-out rows; read-only."""
    return rows.corpus(tmp_path_factory.mktemp("corpus"))
