"""A fresh simulated world for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import simulation


@pytest.fixture
def sim() -> Iterator[simulation.Simulation]:
    world = simulation.Simulation()
    yield world
    world.close()
