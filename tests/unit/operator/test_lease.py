"""The Lease elector and its fence."""

from __future__ import annotations

import asyncio

import pytest

from mens_operator.cluster import errors, kinds, lease, memory
from tests.support.machinery import LEASE, Time, corpus


async def test_a_stopped_leader_finds_its_fence_down() -> None:
    """A leader that slept longer than its fence writes nothing, even before it looks."""
    fake, time = memory.MemoryCluster(), Time()
    timing = lease.Timing(renew=0.01, poll=0.01)
    elector = lease.Elector(fake, LEASE, "one", timing=timing, clock=time)
    task = asyncio.create_task(elector.run())
    await asyncio.wait_for(elector.led.wait(), 1)
    writer = lease.Fenced(fake, elector.fence)
    time.now += 6.0  # SIGSTOP, a paused virtual machine, a long garbage collection
    written = len(fake.writes)
    with pytest.raises(errors.NotLeader):
        await writer.apply(corpus("a", 0))
    assert len(fake.writes) == written
    await asyncio.wait_for(task, 1)  # Lost: the elector ends, and the process with it.


async def test_the_fence_counts_from_before_the_request() -> None:
    """A slow renewal does not lengthen what it allows."""
    fake, time = memory.MemoryCluster(), Time()

    def slow(verb: str, _: kinds.Key) -> None:
        if verb == "create":
            time.now += 3.0

    fake.before_write = slow
    elector = lease.Elector(fake, LEASE, "one", clock=time)
    task = asyncio.create_task(elector.run())
    await asyncio.wait_for(elector.led.wait(), 1)
    time.now = 5.9
    elector.fence()
    time.now = 6.0
    with pytest.raises(errors.NotLeader):
        elector.fence()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_follower_judges_by_its_own_clock_since_it_saw_a_change() -> None:
    """A wrong clock of the leader, or an old renewTime, takes nothing over."""
    fake, time = memory.MemoryCluster(), Time()
    old = {"holderIdentity": "one", "renewTime": "2001-01-01T00:00:00.000000Z"}
    meta = {"namespace": "default", "name": "mens-operator"}
    record = {"apiVersion": LEASE.kind.api_version, "kind": "Lease", "metadata": meta, "spec": old}
    fake.put(record)
    timing = lease.Timing(poll=0.01)
    elector = lease.Elector(fake, LEASE, "two", timing=timing, clock=time)
    task = asyncio.create_task(elector.run())
    await asyncio.sleep(0.05)
    time.now = 9.9
    await asyncio.sleep(0.05)
    assert not elector.leads
    fake.put({**record, "spec": {**old, "renewTime": "2001-01-01T00:00:02.000000Z"}})
    await asyncio.sleep(0.05)
    time.now = 19.8
    await asyncio.sleep(0.05)
    assert not elector.leads
    time.now = 19.95
    await asyncio.wait_for(elector.led.wait(), 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_connection_errors_end_leadership_in_time() -> None:
    """Renewals that fail leave the fence where it was: it falls after six seconds."""
    fake = memory.MemoryCluster()
    timing = lease.Timing(lease=1.0, fence=0.3, renew=0.05, poll=0.05)
    elector = lease.Elector(fake, LEASE, "one", timing=timing)
    task = asyncio.create_task(elector.run())
    await asyncio.wait_for(elector.led.wait(), 1)

    def cut(_verb: str, _key: kinds.Key) -> None:
        raise errors.Unavailable("no route")

    fake.before_write = cut
    await asyncio.wait_for(task, 1)
    assert not elector.leads


async def test_a_lost_answer_of_a_renewal_does_not_lose_the_lease() -> None:
    """The renewal happened, its answer did not arrive: the conflict that follows is our own."""
    fake = memory.MemoryCluster()
    timing = lease.Timing(lease=5.0, fence=2.0, renew=0.05, poll=0.05)
    elector = lease.Elector(fake, LEASE, "one", timing=timing)
    task = asyncio.create_task(elector.run())
    await asyncio.wait_for(elector.led.wait(), 1)
    lose = [True]

    def lost(_verb: str, _key: kinds.Key) -> None:
        if lose:
            lose.pop()
            raise errors.Unavailable("timed out after it was done")

    fake.after_write = lost
    await asyncio.sleep(0.4)
    assert elector.leads
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
