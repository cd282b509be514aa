"""The Lease elector and its fence."""

from __future__ import annotations

import asyncio

import pytest

from mens_operator.cluster import errors, in_memory, kinds, lease
from tests.support.cluster_objects import LEASE, ManualClock, corpus


async def test_a_stopped_leader_finds_its_fence_down() -> None:
    """A leader that slept longer than its fence writes nothing, even before it looks."""
    fake, time = in_memory.InMemoryApiServer(), ManualClock()
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
    fake, time = in_memory.InMemoryApiServer(), ManualClock()

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
    fake, time = in_memory.InMemoryApiServer(), ManualClock()
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
    fake = in_memory.InMemoryApiServer()
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
    fake = in_memory.InMemoryApiServer()
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


class Hanging(in_memory.InMemoryApiServer):
    """Leaves the next renewals without an answer; `done` says whether they happen all the same."""

    def __init__(self, *done: bool) -> None:
        super().__init__()
        self.hangs = list(done)

    async def replace(self, obj: kinds.Object) -> kinds.Object:
        if not self.hangs:
            return await super().replace(obj)
        if self.hangs.pop(0):
            await super().replace(obj)
        return await asyncio.Event().wait()  # type: ignore[return-value]  # never


@pytest.mark.parametrize("done", [False, True])
async def test_a_renewal_that_hangs_does_not_cost_the_lease(done: bool) -> None:
    """It is given up in time for another one before the fence falls."""
    fake = Hanging(done)
    timing = lease.Timing(lease=3.0, fence=1.8, renew=0.6, attempt=0.6, retry=0.06)  # x 0.3
    elector = lease.Elector(fake, LEASE, "one", timing=timing)
    task = asyncio.create_task(elector.run())
    await asyncio.wait_for(elector.led.wait(), 1)
    await asyncio.sleep(2.5)
    assert not fake.hangs
    assert elector.leads
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_hanging_api_server_ends_leadership_when_the_fence_falls() -> None:
    """No renewal outlives the fence: the process ends, and a standby has its turn."""
    fake = Hanging(*[False] * 100)
    timing = lease.Timing(lease=1.0, fence=0.5, renew=0.1, attempt=2.0, retry=0.05)
    elector = lease.Elector(fake, LEASE, "one", timing=timing)
    begun = asyncio.get_running_loop().time()
    await asyncio.wait_for(elector.run(), 2)
    assert asyncio.get_running_loop().time() - begun < 0.8


async def test_a_refused_lease_is_said_once_and_tried_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without permissions nobody leads; with them it continues at once."""
    fake = in_memory.InMemoryApiServer()

    def forbid(_verb: str, _key: kinds.Key) -> None:
        raise errors.Refused("403: leases is forbidden")

    fake.before_write = forbid
    elector = lease.Elector(fake, LEASE, "one", timing=lease.Timing(poll=0.01))
    task = asyncio.create_task(elector.run())
    await asyncio.sleep(0.1)
    assert elector.refused == "403: leases is forbidden"
    assert elector.reachable > 0
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "default/mens-operator" in warnings[0].message
    fake.before_write = lambda _verb, _key: None
    await asyncio.wait_for(elector.led.wait(), 1)
    assert elector.refused is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_reachable_counts_from_the_end_of_an_outage() -> None:
    """What asks for silence must not count the time when nobody could have said anything."""
    time, away = ManualClock(), [True]

    class Server(in_memory.InMemoryApiServer):
        async def get(self, key: kinds.Key) -> kinds.Object | None:
            if away:
                raise errors.Unavailable("no route")
            return {"spec": {"holderIdentity": "another", "renewTime": time.now}}

    elector = lease.Elector(Server(), LEASE, "one", timing=lease.Timing(poll=0.01), clock=time)
    task = asyncio.create_task(elector.run())

    async def after(seconds: float) -> float:
        for _ in range(int(seconds)):  # a look each second
            time.now += 1
            await asyncio.sleep(0.015)
        return elector.reachable

    assert await after(2) == 0
    away.clear()
    assert 18 <= await after(20) <= 20
    away.append(True)
    assert await after(20) == 0
    away.clear()
    assert 3 <= await after(5) <= 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
