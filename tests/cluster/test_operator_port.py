"""The real client keeps the contract of the port, against a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support import operator_process
from tests.support.port_contract import *  # noqa: F403
from tests.support.port_contract import World

pytestmark = pytest.mark.cluster


@pytest.fixture
async def world(control_plane: Any) -> AsyncIterator[World]:
    async with operator_process.space_on(str(control_plane.kubeconfig)) as space:
        # A real server cannot be made to forget; the reflector's list covers the gap all the same.
        yield World(space.cluster, space.namespace, space.set_status, lambda: None)
