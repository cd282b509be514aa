"""The work queue: deadlines, one worker for each key, back-off."""

from __future__ import annotations

import asyncio

import pytest

from mens_operator.cluster import errors, kinds, queue
from tests.support.cluster_objects import A, B, ManualClock


async def test_a_key_waits_for_its_earliest_deadline_once() -> None:
    """Wishes merge; the earliest wins."""
    time, done = ManualClock(), []
    work = queue.WorkQueue(time)
    work.add(A, 5)
    work.add(A, 1)
    work.add(A, 9)

    async def reconcile(key: kinds.Key) -> None:
        done.append((time.now, key))

    assert await work.drain(reconcile, until=0.9) == 0
    time.now = 1.0
    await work.drain(reconcile, until=1.0)
    time.now = 20.0
    await work.drain(reconcile, until=20.0)
    assert done == [(1.0, A)]


async def test_failures_wait_longer_each_time_and_success_forgets() -> None:
    """Back-off is per key, doubles, and restarts."""
    time, pauses = ManualClock(), []
    work = queue.WorkQueue(time)
    work.add(A)
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
    work.add(A)
    await work.drain(reconcile, until=time.now)
    assert work.next_due() == time.now + 0.5


async def test_an_api_server_that_is_away_is_asked_again_soon() -> None:
    """However long an outage lasts, all is looked at within 15 s of its end."""
    time = ManualClock()
    work = queue.WorkQueue(time)
    work.add(A)

    async def reconcile(_: kinds.Key) -> None:
        raise errors.Unavailable("connection refused")

    pauses = []
    while time.now < 300:
        await work.drain(reconcile, until=time.now)
        due = work.next_due()
        assert due is not None
        pauses.append(due - time.now)
        time.now = due
    assert max(pauses) == 15.0


async def test_a_key_woken_while_it_is_worked_on_runs_once_more() -> None:
    """No news is lost, and no key runs twice at a time."""
    work = queue.WorkQueue(asyncio.get_running_loop().time)
    gate, runs, together = asyncio.Event(), [], []

    async def reconcile(key: kinds.Key) -> None:
        together.append(work.active)
        runs.append(key)
        await gate.wait()

    running = asyncio.create_task(work.run(reconcile, 3))
    work.add(A)
    await asyncio.sleep(0.02)
    work.add(A)
    work.add(A)
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
        work.add(kinds.Key(kinds.CORPUS, "default", str(number)))
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

    work.add(A)
    running = asyncio.create_task(work.run(reconcile, 2))
    await asyncio.sleep(0.02)
    work.add(B, 0.01)
    work.stop()
    await asyncio.wait_for(running, 1)
    assert ended == [A]


async def test_a_key_may_fail_for_days() -> None:
    """The pause stays at a minute; doubling it must never overflow."""
    time = ManualClock()
    work = queue.WorkQueue(time)
    work.add(A)

    async def reconcile(_: kinds.Key) -> None:
        raise errors.Refused("403")

    for _ in range(1100):
        due = work.next_due()
        assert due is not None
        time.now = due
        await work.drain(reconcile, until=due)
    due = work.next_due()
    assert due is not None
    assert due - time.now == 60.0


async def test_news_do_not_end_a_back_off_but_an_edit_does() -> None:
    """What a failing reconcile wrote itself comes back as news, before and after it has failed."""
    time, runs = ManualClock(), []
    work = queue.WorkQueue(time)
    work.add(A)

    async def reconcile(key: kinds.Key) -> None:
        runs.append(time.now)
        work.add(key)
        raise errors.Refused("403")

    for moment in (0.0, 0.4, 0.5):
        time.now = moment
        await work.drain(reconcile, until=moment)
        work.add(A)
    assert runs == [0.0, 0.5]
    assert work.next_due() == 1.5
    work.add(A, reset_backoff=True)
    assert work.next_due() == 0.5
    await work.drain(reconcile, until=0.5)
    assert work.next_due() == 1.0, "the back-off restarts"


async def test_an_edit_during_work_that_fails_is_worked_on_at_once() -> None:
    """The failure was about an object that does not exist anymore."""
    time, runs = ManualClock(), []
    work = queue.WorkQueue(time)
    work.add(A)

    async def reconcile(key: kinds.Key) -> None:
        runs.append(time.now)
        if len(runs) == 1:
            work.add(key, reset_backoff=True)
            raise errors.Refused("422")

    await work.drain(reconcile, until=0.0)
    assert runs == [0.0, 0.0]
    assert work.next_due() is None


@pytest.mark.parametrize(("asked", "pause"), [(None, 0.5), (7.0, 7.0), (3600.0, 60.0)])
async def test_a_busy_api_server_says_how_long_to_wait(asked: float | None, pause: float) -> None:
    """Retry-After of a 429 lengthens the pause, up to the longest."""
    time = ManualClock()
    work = queue.WorkQueue(time)
    work.add(A)

    async def reconcile(_: kinds.Key) -> None:
        raise errors.Unavailable("429", retry_after=asked)

    await work.drain(reconcile, until=0.0)
    assert work.next_due() == pause
