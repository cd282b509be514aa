"""Queue, cache, watch and lease: the machinery below the plans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mens_operator.cluster import cache, errors, kinds, lease, memory, port, queue, watch

A = kinds.Key(kinds.CORPUS, "default", "a")
B = kinds.Key(kinds.CORPUS, "default", "b")


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def corpus(name: str, version: int, uid: str = "u", **spec: Any) -> dict[str, Any]:
    meta = {"namespace": "default", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {
        "apiVersion": kinds.CORPUS.api_version,
        "kind": "MensCorpus",
        "metadata": meta,
        "spec": spec,
    }


# -- queue -------------------------------------------------------------------------------------


async def test_a_key_waits_for_its_earliest_deadline_once() -> None:
    """Wishes merge; the earliest wins."""
    time, done = Time(), []
    work = queue.WorkQueue(time)
    work.wake(A, 5)
    work.wake(A, 1)
    work.wake(A, 9)

    async def reconcile(key: kinds.Key) -> None:
        done.append((time.now, key))

    assert await work.drain(reconcile, until=0.9) == 0
    time.now = 1.0
    await work.drain(reconcile, until=1.0)
    time.now = 20.0
    await work.drain(reconcile, until=20.0)
    assert done == [(1.0, A)]


async def test_failures_wait_longer_each_time_and_success_forgets() -> None:
    """Back-off is per key, doubles, and starts anew."""
    time, pauses = Time(), []
    work = queue.WorkQueue(time)
    work.wake(A)
    bad = True

    async def reconcile(_: kinds.Key) -> None:
        if bad:
            raise errors.Unavailable("no")

    for _ in range(4):
        await work.drain(reconcile, until=time.now)
        due = work.next_due()
        assert due is not None
        pauses.append(due - time.now)
        time.now = due
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    bad = False
    await work.drain(reconcile, until=time.now)
    bad = True
    work.wake(A)
    await work.drain(reconcile, until=time.now)
    assert work.next_due() == time.now + 0.5


async def test_a_key_woken_while_it_is_worked_on_runs_once_more() -> None:
    """No news is lost, and no key runs twice at a time."""
    work = queue.WorkQueue(asyncio.get_running_loop().time)
    gate, runs, together = asyncio.Event(), [], []

    async def reconcile(key: kinds.Key) -> None:
        together.append(work.active)
        runs.append(key)
        await gate.wait()

    running = asyncio.create_task(work.run(reconcile, 3))
    work.wake(A)
    await asyncio.sleep(0.02)
    work.wake(A)
    work.wake(A)
    await asyncio.sleep(0.02)
    assert runs == [A]
    gate.set()
    await asyncio.sleep(0.05)
    assert runs == [A, A]
    assert max(together) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_width_bounds_what_is_in_flight() -> None:
    """Ten keys, three workers: three at a time."""
    work = queue.WorkQueue(asyncio.get_running_loop().time)
    most = 0

    async def reconcile(_: kinds.Key) -> None:
        nonlocal most
        most = max(most, work.active)
        await asyncio.sleep(0.002)

    for number in range(10):
        work.wake(kinds.Key(kinds.CORPUS, "default", str(number)))
    running = asyncio.create_task(work.run(reconcile, 3))
    await asyncio.sleep(0.1)
    assert (most, len(work)) == (3, 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_stopping_lets_what_is_in_flight_end() -> None:
    """No write is cut off, and nothing new is begun."""
    work = queue.WorkQueue(asyncio.get_running_loop().time)
    ended: list[kinds.Key] = []

    async def reconcile(key: kinds.Key) -> None:
        await asyncio.sleep(0.05)
        ended.append(key)

    work.wake(A)
    running = asyncio.create_task(work.run(reconcile, 2))
    await asyncio.sleep(0.02)
    work.wake(B, 0.01)
    work.stop()
    await asyncio.wait_for(running, 1)
    assert ended == [A]


# -- cache -------------------------------------------------------------------------------------


def test_older_news_never_overwrite_newer_ones() -> None:
    """Answers and events cross each other; the version decides."""
    heard: list[Any] = []
    known = cache.Cache(lambda key, _obj: heard.append(key))
    assert known.put(corpus("a", 5, x=1))
    assert not known.put(corpus("a", 4, x=0))
    assert not known.put(corpus("a", 5, x=2))
    found = known.get(A)
    assert found is not None
    assert found["spec"] == {"x": 1}
    assert len(heard) == 1


def test_a_change_of_nothing_but_the_version_wakes_nobody() -> None:
    """managedFields and foreign annotations are trimmed away."""
    heard: list[Any] = []
    known = cache.Cache(lambda key, _obj: heard.append(key))
    known.put(corpus("a", 5))
    noisy = corpus("a", 6)
    noisy["metadata"]["annotations"] = {"argocd": "x"}
    noisy["metadata"]["managedFields"] = [{"manager": "x"}]
    known.put(noisy)
    assert len(heard) == 1
    assert "annotations" not in (known.get(A) or {})["metadata"]


def test_what_was_deleted_does_not_come_back() -> None:
    """A late answer about a deleted object is no news; a namesake with a new uid is."""
    known = cache.Cache(lambda _key, _obj: None)
    known.put(corpus("a", 5, uid="old"))
    known.drop(A, uid="old")
    assert not known.put(corpus("a", 9, uid="old"))
    assert known.put(corpus("a", 10, uid="new"))
    known.drop(A, uid="old")
    assert known.get(A) is not None


def test_a_complete_list_removes_ghosts_but_not_what_is_newer_than_it() -> None:
    """kopf never tells what vanished in a gap; our list does."""
    known = cache.Cache(lambda _key, _obj: None)
    known.put(corpus("a", 5, uid="1"))
    known.put(corpus("b", 50, uid="2"))
    assert not known.is_complete([(kinds.CORPUS, None)])
    known.replace(kinds.CORPUS, None, [], "40")
    assert known.is_complete([(kinds.CORPUS, None)])
    assert known.get(A) is None
    assert known.get(B) is not None


# -- watch -------------------------------------------------------------------------------------


class Flaky(memory.MemoryCluster):
    """Ends watches in every way the API server can."""

    def __init__(self, *ends: Exception | None) -> None:
        super().__init__()
        self.ends = list(ends)
        self.lists = 0
        self.versions: list[str] = []

    async def list_page(self, *args: Any, **named: Any) -> port.Page:
        self.lists += 1
        return await super().list_page(*args, **named)

    async def watch(self, *args: Any, **named: Any) -> AsyncIterator[port.Change]:
        self.versions.append(named["resource_version"])
        if self.ends:
            end = self.ends.pop(0)
            if end is not None:
                raise end
            return
        async for change in super().watch(*args, **named):
            yield change


@pytest.mark.parametrize(
    ("end", "lists"),
    [(errors.Gone("410"), 2), (errors.Unavailable("lost"), 1), (None, 1)],
)
async def test_after_410_the_follower_lists_again_else_it_keeps_its_version(
    end: Exception | None, lists: int
) -> None:
    """Only 410 costs a list; a lost connection goes on from where it was."""
    flaky = Flaky(end)
    known = cache.Cache(lambda _key, _obj: None)
    time = asyncio.get_running_loop().time
    follower = watch.Follower(flaky, watch.Scope(kinds.CORPUS, None), known, clock=time)
    task = asyncio.create_task(follower.run())
    await asyncio.sleep(0.05)
    flaky.put(corpus("a", 0) | {"metadata": {"namespace": "default", "name": "a"}})
    for _ in range(100):
        if known.get(A):
            break
        await asyncio.sleep(0.02)
    assert known.get(A) is not None
    assert flaky.lists == lists
    if lists == 1:
        assert len(set(flaky.versions)) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_bookmarks_are_heard_and_move_the_version() -> None:
    """Liveness asks when anything was heard; a quiet kind has its bookmarks."""
    fake, time = memory.MemoryCluster(), Time()
    known = cache.Cache(lambda _key, _obj: None)
    follower = watch.Follower(fake, watch.Scope(kinds.CORPUS, None), known, clock=time)
    task = asyncio.create_task(follower.run())
    await asyncio.sleep(0.02)
    time.now = 50.0
    fake.bookmark()
    await asyncio.sleep(0.02)
    assert follower.heard_at == 50.0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- lease -------------------------------------------------------------------------------------

LEASE = kinds.Key(kinds.LEASE, "default", "mens-operator")


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
