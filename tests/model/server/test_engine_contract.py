"""What every engine keeps to; the same tests for the native and the fake one."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import torch
from safetensors import torch as safetensors_torch

from mens_server import model_validation
from mens_server.engines import fake, interface, worker
from mens_server.engines.native import model_runner
from mens_server.protocol import errors, generation
from tests.model.server import tiny

pytestmark = pytest.mark.model

GREEDY = generation.SamplingParams(temperature=0)
SLOTS, QUEUE, CONTEXT = 2, 2, 100


class Slow:
    """A runner that waits for permission before each step."""

    def __init__(self, inner: worker.ModelRunner) -> None:
        self._inner = inner
        self.seconds = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def step(self, segments: list[object]) -> list[int]:
        import time  # noqa: PLC0415

        time.sleep(self.seconds)
        return self._inner.step(segments)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["fake", "native"])
def make_runner(request: pytest.FixtureRequest, models: Path) -> Callable[[], worker.ModelRunner]:
    if request.param == "fake":
        return lambda: fake.FakeRunner(slots=SLOTS, max_context=CONTEXT, answer_tokens=10**9)
    return lambda: model_runner.load(
        models / "base", slots=SLOTS, max_context=CONTEXT, threads=1, dtype=torch.float32
    )


@pytest.fixture
async def slow(make_runner: Callable[[], worker.ModelRunner]) -> Slow:
    return Slow(make_runner())


@pytest.fixture
async def engine(slow: Slow) -> AsyncIterator[worker.WorkerEngine]:
    engine = worker.WorkerEngine(slow, max_queue=QUEUE)  # type: ignore[arg-type]
    yield engine
    await asyncio.to_thread(engine.close)


async def tokens(stream: interface.TokenStream) -> list[int]:
    return [event.token async for event in stream]


def ask(
    text: str = "hello", count: int = 8, adapter: str | None = None, **sampling: object
) -> generation.GenerationRequest:
    chosen = generation.SamplingParams(**sampling) if sampling else GREEDY  # type: ignore[arg-type]
    return generation.GenerationRequest(tuple(text.encode()), count, adapter, chosen)


async def test_greedy_answers_repeat(engine: worker.WorkerEngine) -> None:
    """Temperature 0 answers the same alone and beside others."""
    alone = await tokens(engine.submit(ask()))
    beside = await asyncio.gather(
        tokens(engine.submit(ask())),
        tokens(engine.submit(ask("other", 5))),
        tokens(engine.submit(ask())),
    )
    assert len(alone) <= 8
    assert beside[0] == beside[2] == alone


async def test_a_seed_fixes_the_draw(engine: worker.WorkerEngine) -> None:
    """Same seed, same answer; another seed, another one."""
    one = await tokens(engine.submit(ask(temperature=1.0, top_p=0.9, seed=7)))
    same = await tokens(engine.submit(ask(temperature=1.0, top_p=0.9, seed=7)))
    other = await tokens(engine.submit(ask(temperature=1.0, top_p=0.9, seed=8)))
    assert one == same != other


async def test_the_last_event_says_why(engine: worker.WorkerEngine) -> None:
    """Only the last event has a reason, and `length` comes at exactly max_tokens."""
    events = [event async for event in engine.submit(ask(count=3))]
    assert [event.finish for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1].finish is not None
    if events[-1].finish is generation.FinishReason.LENGTH:
        assert len(events) == 3


async def test_the_queue_is_bounded(engine: worker.WorkerEngine, slow: Slow) -> None:
    """Slots and queue full: the next one is refused with a time to wait; then it works again."""
    slow.seconds = 0.05
    streams = [engine.submit(ask(count=4)) for _ in range(SLOTS + QUEUE)]
    with pytest.raises(errors.QueueFull) as refusal:
        engine.submit(ask())
    assert refusal.value.retry_after_seconds
    slow.seconds = 0
    await asyncio.gather(*(tokens(stream) for stream in streams))
    assert await tokens(engine.submit(ask()))


async def test_cancelling_frees_the_slot(engine: worker.WorkerEngine, slow: Slow) -> None:
    """A canceled request leaves within one step and lets the next one in."""
    slow.seconds = 0.01
    streams = [engine.submit(ask(count=90)) for _ in range(SLOTS)]
    waiting = engine.submit(ask(count=1))
    async for _ in streams[0]:
        break
    for stream in streams:
        stream.cancel()
    assert len(await asyncio.wait_for(tokens(waiting), 5)) == 1
    assert engine.stats().running == 0


async def test_what_does_not_fit_is_refused(engine: worker.WorkerEngine) -> None:
    """Too long, empty, or an adapter that is not there: refused before anything is computed."""
    with pytest.raises(errors.ContextTooLong):
        engine.submit(ask(count=CONTEXT))
    with pytest.raises(errors.InvalidRequest):
        engine.submit(ask(text=""))
    with pytest.raises(errors.ModelNotFound):
        engine.submit(ask(adapter="sha256:none"))
    for token in (260, 999_999_999, 2**70):
        with pytest.raises(errors.InvalidRequest, match=f"token {token}"):
            engine.submit(generation.GenerationRequest((1, token, 2), 4))


async def test_adapters_answer_differently(engine: worker.WorkerEngine, models: Path) -> None:
    """Base and adapters mixed in one batch answer as each does alone."""
    for name in ("a", "b"):
        await asyncio.to_thread(engine.load_adapter, interface.AdapterFiles(name, models / name))
    alone = {name: await tokens(engine.submit(ask(adapter=name))) for name in (None, "a", "b")}
    assert len({tuple(answer) for answer in alone.values()}) == 3
    mixed = await asyncio.gather(*(tokens(engine.submit(ask(adapter=name))) for name in alone))
    assert mixed == list(alone.values())


async def test_draining_finishes_what_runs(engine: worker.WorkerEngine, slow: Slow) -> None:
    """A draining engine admits nothing, finishes its answers, and says when it cannot."""
    slow.seconds = 0.01
    stream = engine.submit(ask(count=5))
    assert not await engine.drain(0)
    with pytest.raises(errors.Unavailable):
        engine.submit(ask())
    drained, answer = await asyncio.gather(engine.drain(20), tokens(stream))
    assert drained
    assert answer


async def test_closing_ends_waiting_requests(engine: worker.WorkerEngine, slow: Slow) -> None:
    """A request never waits indefinitely for a closed engine."""
    slow.seconds = 0.05
    stream = engine.submit(ask(count=90))
    await asyncio.to_thread(engine.close)
    with pytest.raises(errors.Unavailable):
        await tokens(stream)


async def test_the_heart_beats_while_idle(engine: worker.WorkerEngine) -> None:
    """Liveness is the loop's own sign of life."""
    await tokens(engine.submit(ask(count=1)))
    assert engine.heartbeat_age() < 2
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.cache_usage) == (0, 0, 0)


async def test_a_request_that_fails_ends_alone() -> None:
    """Those in the same step get the answers that they get without it, and the heart beats on."""
    runner = fake.FakeRunner(slots=4, max_context=200, step_seconds=0.01, answer_tokens=100)
    engine = worker.WorkerEngine(runner, max_queue=4)
    alone = await tokens(engine.submit(ask(count=40)))
    neighbors = [asyncio.create_task(tokens(engine.submit(ask(count=40)))) for _ in range(3)]
    for _ in range(worker.FAILURES_BEFORE_UNHEALTHY + 1):
        with pytest.raises(errors.EngineFailed):
            await tokens(engine.submit(ask(fake.FAIL)))
    assert not any(task.done() for task in neighbors)
    assert await asyncio.gather(*neighbors) == [alone] * 3
    assert engine.heartbeat_age() < 1
    engine.close()


async def test_an_engine_on_which_everything_fails_is_not_alive() -> None:
    """Failures count while no request succeeds; the first success makes up for them."""
    engine = worker.WorkerEngine(fake.FakeRunner(slots=2, max_context=50), max_queue=4)
    for _ in range(worker.FAILURES_BEFORE_UNHEALTHY):
        with pytest.raises(errors.EngineFailed):
            await tokens(engine.submit(ask(fake.FAIL)))
    before = engine.heartbeat_age()
    await asyncio.sleep(1.2)  # longer than an idle loop waits between two beats
    assert engine.heartbeat_age() > before + 1
    assert await tokens(engine.submit(ask()))
    assert engine.heartbeat_age() < 1
    engine.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(
    models: Path, tmp_path: Path, value: float
) -> None:
    """One number that is none, in either matrix, and the adapter is not loaded."""
    runner = model_runner.load(
        models / "base", slots=1, max_context=50, threads=1, dtype=torch.float32
    )
    for part in "AB":
        shutil.copytree(models / "a", tmp_path / part)
        weights = tmp_path / part / "adapter_model.safetensors"
        tensors = safetensors_torch.load_file(weights)
        tensors[next(name for name in tensors if f"lora_{part}" in name)][1, 1] = value
        safetensors_torch.save_file(tensors, weights)
        with pytest.raises(model_validation.InvalidModelError, match="not finite") as refusal:
            runner.load_adapter(interface.AdapterFiles("x", tmp_path / part))
        assert refusal.value.reason == "AdapterInvalid"


@pytest.mark.parametrize("std", [1e20, 6e37])
async def test_weights_that_overflow_end_only_their_own_requests(
    models: Path, tmp_path: Path, std: float
) -> None:
    """An adapter whose activations are infinite: base and other adapters answer as without it."""
    tiny.adapter(models / "base", tmp_path, seed=7, std=std, lora_alpha=1)
    runner = model_runner.load(
        models / "base", slots=4, max_context=50, threads=1, dtype=torch.float32
    )
    engine = worker.WorkerEngine(runner, max_queue=4)
    for name, folder in (("a", models / "a"), ("huge", tmp_path)):
        await asyncio.to_thread(engine.load_adapter, interface.AdapterFiles(name, folder))
    alone = [await tokens(engine.submit(ask(count=30, adapter=name))) for name in (None, "a")]
    streams = [engine.submit(ask(count=30, adapter=name)) for name in ("huge", None, "a")]
    with pytest.raises(errors.EngineFailed):
        await tokens(streams[0])
    assert [await tokens(stream) for stream in streams[1:]] == alone
    engine.close()


@pytest.mark.parametrize(
    ("temperature", "top_p"),
    [(1e-45, 1.0), (1e-38, 1.0), (1e-3, 1.0), (1.0, 1e-300), (1e-38, 1e-300), (2.0, 1e-9)],
)
async def test_the_smallest_temperatures_and_shares_take_the_best_token(
    engine: worker.WorkerEngine, temperature: float, top_p: float
) -> None:
    """Numbers that float32 rounds to zero are the limit that they stand for: greedy."""
    greedy = await tokens(engine.submit(ask(count=4)))
    drawn = engine.submit(ask(count=4, temperature=temperature, top_p=top_p, seed=-(2**63)))
    if isinstance(engine._runner._inner, model_runner.NativeRunner):  # type: ignore[attr-defined]
        assert await tokens(drawn) == greedy
    else:
        assert len(await tokens(drawn)) == 4


async def test_a_broken_adapter_leaves_the_engine_alone(models: Path, tmp_path: Path) -> None:
    """Refusing an adapter changes nothing for those who are served."""
    runner = model_runner.load(
        models / "base", slots=1, max_context=50, threads=1, dtype=torch.float32
    )
    engine = worker.WorkerEngine(runner, max_queue=4)
    before = await tokens(engine.submit(ask()))
    with pytest.raises(model_validation.InvalidModelError):
        await asyncio.to_thread(engine.load_adapter, interface.AdapterFiles("x", tmp_path))
    assert await tokens(engine.submit(ask())) == before
    engine.close()
