"""The in-memory API server keeps the contract of the port."""

from __future__ import annotations

import pytest

from mens_operator.cluster import errors, in_memory, kinds
from tests.support.port_contract import *  # noqa: F403
from tests.support.port_contract import World, job


@pytest.fixture
def world() -> World:
    fake = in_memory.InMemoryApiServer()
    return World(fake, "default", fake.set_status, fake.compact)


async def test_a_continue_token_expires(world: World) -> None:
    """After a compaction a list must start again, as on a real server after five minutes."""
    for name in ("a", "b"):
        await world.cluster.apply(job(world, name))
    page = await world.cluster.list_page(kinds.JOB, "default", limit=1)
    assert page.more is not None
    world.expire()
    with pytest.raises(errors.Gone, match="continue"):
        await world.cluster.list_page(kinds.JOB, "default", limit=1, more=page.more)


async def test_pages_of_one_list_share_a_version(world: World) -> None:
    """A watch from the last page must not miss what was written between the pages."""
    for name in ("a", "b"):
        await world.cluster.apply(job(world, name))
    first = await world.cluster.list_page(kinds.JOB, "default", limit=1)
    await world.cluster.apply(job(world, "c"))
    last = await world.cluster.list_page(kinds.JOB, "default", limit=1, more=first.more)
    assert last.resource_version == first.resource_version


async def test_finalizers_hold_dependents_too(world: World) -> None:
    """The garbage collector deletes a dependent; its finalizer keeps it."""
    owner = await world.cluster.apply(job(world, "owner"))
    held = job(world, "held")
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "owner"}
    held["metadata"] |= {
        "finalizers": ["mens.test/hold"],
        "ownerReferences": [{**reference, "uid": owner["metadata"]["uid"]}],
    }
    await world.cluster.apply(held)
    await world.cluster.delete(world.key("owner"))
    found = await world.cluster.get(world.key("held"))
    assert found is not None
    assert "deletionTimestamp" in found["metadata"]
