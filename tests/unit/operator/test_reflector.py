"""Listing and watching: what ends a watch, and what liveness asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mens_operator.cluster import cache, errors, in_memory, kinds, port, reflector
from tests.support.cluster_objects import A, ManualClock, corpus


class Flaky(in_memory.InMemoryApiServer):
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
    """Only 410 costs a list; a lost connection resumes at its version."""
    flaky = Flaky(end)
    known = cache.Cache(lambda _key, _obj: None)
    time = asyncio.get_running_loop().time
    tested = reflector.Reflector(flaky, reflector.Scope(kinds.CORPUS, None), known, clock=time)
    task = asyncio.create_task(tested.run())
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
    fake, time = in_memory.InMemoryApiServer(), ManualClock()
    known = cache.Cache(lambda _key, _obj: None)
    tested = reflector.Reflector(fake, reflector.Scope(kinds.CORPUS, None), known, clock=time)
    task = asyncio.create_task(tested.run())
    await asyncio.sleep(0.02)
    time.now = 50.0
    fake.bookmark()
    await asyncio.sleep(0.02)
    assert tested.last_event_at == 50.0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_refused_watch_is_tried_with_longer_pauses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rights that are taken while it watches: it lists again, slowly, until they come back."""
    flaky = Flaky(*[errors.Refused("403")] * 3)
    known = cache.Cache(lambda _key, _obj: None)
    time = asyncio.get_running_loop().time
    tested = reflector.Reflector(flaky, reflector.Scope(kinds.CORPUS, "team-a"), known, clock=time)
    task = asyncio.create_task(tested.run())
    await asyncio.sleep(0.5)
    assert flaky.lists == 2, "0, 0.2, 0.6, 1.4 s"
    assert tested.refused == "403"
    assert "namespace team-a is left out" in caplog.text
    await asyncio.sleep(1.2)
    assert tested.refused is None
    assert flaky.lists == 4
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
