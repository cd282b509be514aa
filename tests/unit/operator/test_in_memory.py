"""The fake keeps the contract of the port."""

from __future__ import annotations

import pytest

from mens_operator.cluster import in_memory
from tests.support.port_contract import *  # noqa: F403
from tests.support.port_contract import World


@pytest.fixture
def world() -> World:
    fake = in_memory.InMemoryApiServer()
    return World(fake, "default", fake.set_status, fake.compact)
