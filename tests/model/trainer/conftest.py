"""Fixtures of the trainer's tests that compute."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read when torch loads its OpenMP: tests run beside others, where spinning threads cost most.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.support import models
from tests.unit.trainer import rows


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model; not to be changed."""
    return models.tiny(tmp_path_factory.mktemp("base"), seed=1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 rows to train on, 8 held out; not to be changed."""
    return rows.corpus(tmp_path_factory.mktemp("corpus"))
