"""kopf's supervisor: it waits, starts, starts again, and knows when kopf is stuck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import kopf
import pytest

from mens_operator.cluster import errors, kinds
from mens_operator.handlers import events, supervisor


def served(*plurals: str) -> Mapping[str, Any]:
    return {"resources": [{"name": plural} for plural in plurals]}


ALL = served(*(kind.plural for kind in kinds.RESOURCES))


def supervised(ask: supervisor.Ask, gaps: list[int]) -> supervisor.Supervisor:
    return supervisor.Supervisor(
        ask=ask,
        on_event=lambda _type, _obj: None,
        on_gap=lambda: gaps.append(1),
        namespaces=["default"],
        identity="test",
        clock=time.monotonic,
    )


async def test_discovery_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CRD that is absent when kopf starts would leave it idle indefinitely."""
    monkeypatch.setattr(supervisor, "_DISCOVERY_PAUSE", 0.01)
    answers: list[errors.NotFound | Mapping[str, Any]] = [
        errors.NotFound("404"),
        served("menscorpora"),
        ALL,
    ]

    async def ask(_: str) -> Mapping[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def operator(**named: Any) -> None:
        await named["stop_flag"].wait()

    monkeypatch.setattr(kopf, "operator", operator)
    gaps: list[int] = []
    tested = supervised(ask, gaps)
    task = asyncio.create_task(tested.run())
    while not gaps:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert not answers
    assert tested.waiting_for == ()
    assert tested.problem() is None
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await tested.close()


async def test_every_end_is_followed_by_a_start_and_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf ends after a 404 or a minute of errors; what happened meanwhile is listed."""
    monkeypatch.setattr(supervisor, "_PAUSE", (0.01, 0.02))

    async def ask(_: str) -> Mapping[str, Any]:
        return ALL

    async def operator(**_: Any) -> None:
        raise RuntimeError("404")

    monkeypatch.setattr(kopf, "operator", operator)
    gaps: list[int] = []
    tested = supervised(ask, gaps)
    task = asyncio.create_task(tested.run())
    for _ in range(300):
        if len(gaps) >= 3:
            break
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await tested.close()
    assert len(gaps) >= 3
    assert tested.starts >= 3


async def test_other_namespaces_are_a_new_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf ends as a whole where one namespace is refused: it is given those that are not."""
    monkeypatch.setattr(supervisor, "_PAUSE", (0.01, 0.02))
    watched: list[tuple[str, ...]] = []

    async def ask(_: str) -> Mapping[str, Any]:
        return ALL

    async def operator(**named: Any) -> None:
        watched.append(named["namespaces"])
        await named["stop_flag"].wait()

    async def until(count: int) -> None:
        async with asyncio.timeout(5):
            while len(watched) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    monkeypatch.setattr(kopf, "operator", operator)
    tested = supervised(ask, [])
    task = asyncio.create_task(tested.run())
    await until(1)
    tested.follow(["default"])
    tested.follow([])
    tested.follow(["default", "other"])
    await until(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await tested.close()
    assert watched == [("default",), ("default", "other")]


async def test_a_stuck_loop_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Liveness asks kopf's loop itself, not whether the process is up."""
    monkeypatch.setattr(supervisor, "_STUCK_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "_BEAT", 0.01)
    block = asyncio.Event()

    async def ask(_: str) -> Mapping[str, Any]:
        return ALL

    async def operator(**named: Any) -> None:
        while not block.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        time.sleep(0.5)  # noqa: ASYNC251  # the trap

    monkeypatch.setattr(kopf, "operator", operator)
    tested = supervised(ask, [])
    task = asyncio.create_task(tested.run())
    await asyncio.sleep(0.2)
    assert tested.problem() is None
    block.set()
    await asyncio.sleep(0.25)
    assert tested.problem() is not None
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await tested.close()


async def test_a_stop_before_the_loop_is_there_counts() -> None:
    """Between the thread's start and its loop nobody can be signaled: what was asked is kept."""
    begun: list[int] = []

    async def operate(stop: asyncio.Event) -> None:
        begun.append(1)
        await stop.wait()

    for _ in range(20):
        runner = supervisor._Runner(operate, lambda: None)
        runner.stop()
        async with asyncio.timeout(5):
            await runner.ended()


def test_settings_keep_kopf_silent() -> None:
    """No events, no scanning, no peering, no storage, no hard exit."""
    chosen = events.settings()
    assert not chosen.posting.enabled
    assert chosen.scanning.disabled
    assert chosen.peering.standalone
    assert chosen.process.ultimate_exiting_timeout is None
    assert chosen.watching.chunk_size == 250
    assert chosen.queueing.idle_timeout == 0.1
    assert chosen.persistence.diffbase_storage.fetch(body={}) is None
    assert chosen.persistence.progress_storage.fetch(key="x", body={}) is None


def test_the_registry_watches_the_three_kinds_and_nothing_else() -> None:
    """Its own registry: no handler of another module can slip in."""
    made = events.registry(lambda _type, _obj: None)
    watched = made._watching.get_all_selectors()
    assert {selector.any_name or selector.plural for selector in watched} == {
        kind.plural for kind in kinds.RESOURCES
    }
    assert not made._spawning.get_all_selectors()
    assert not made._changing.get_all_selectors()
