"""The engine around a runner: one worker thread takes step after step while there is work.

The thread owns the runner; everyone else talks to it through the schedule under one lock. When a
step fails, each of its requests is tried alone, so that only those end that cannot be computed;
several steps in a row in which nothing succeeds stop the heartbeat, so that the liveness probe
replaces the pod.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol

from mens_server.engines import interface, scheduling
from mens_server.protocol import errors, generation

_log = logging.getLogger(__name__)

FAILURES_BEFORE_UNHEALTHY: Final = 3
"""Steps in a row without one request that succeeds, after which the heartbeat stops."""


class ModelRunner(Protocol):
    """Computes steps; used by one thread only."""

    @property
    def tokenizer(self) -> interface.Tokenizer:
        """Tokenizer of the base."""
        ...

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end an answer."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number of token ids that a prompt may hold, counted from 0."""
        ...

    @property
    def max_context(self) -> int:
        """Positions that a slot holds."""
        ...

    @property
    def slots(self) -> int:
        """Requests that can be computed together."""
        ...

    @property
    def note(self) -> str:
        """What its user should know; empty when all is as asked."""
        ...

    def step(self, segments: Sequence[scheduling.Segment]) -> list[int]:
        """Compute the segments and draw a token for each that samples.

        After an error what was computed in earlier steps still stands and nothing has been drawn,
        so that each segment can be tried again alone.
        """
        ...

    def load_adapter(self, adapter: interface.AdapterFiles) -> None:
        """Make an adapter usable in the next step."""
        ...


class WorkerEngine:
    """An engine of a runner and a thread."""

    def __init__(self, runner: ModelRunner, *, max_queue: int) -> None:
        self._runner = runner
        self._schedule = scheduling.Schedule(
            slots=runner.slots,
            max_queue=max_queue,
            max_context=runner.max_context,
            vocabulary=runner.vocabulary,
            stop_tokens=runner.stop_tokens,
        )
        self._wake = threading.Condition()
        self._errands: collections.deque[Callable[[], None]] = collections.deque()
        self._adapters: set[str] = set()
        self._draining = False
        self._closed = False
        self._beat = time.monotonic()
        self._failures = 0
        self._steps = 0
        self._generated = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def tokenizer(self) -> interface.Tokenizer:
        """Tokenizer of the base."""
        return self._runner.tokenizer

    @property
    def max_context(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._schedule.max_context

    @property
    def note(self) -> str:
        """What its user should know; empty when all is as asked."""
        return self._runner.note

    def submit(self, request: generation.GenerationRequest) -> interface.TokenStream:
        """Queue a request; must be called in the event loop that reads its events."""
        stream = _Stream(asyncio.get_running_loop(), self._wake)
        scheduled = scheduling.ScheduledRequest(request=request, deliver=stream.deliver)
        stream.scheduled = scheduled
        with self._wake:
            if self._draining or self._closed:
                raise errors.Unavailable("The server is shutting down: ask another replica.")
            if request.adapter is not None and request.adapter not in self._adapters:
                raise errors.ModelNotFound("This adapter is not loaded.", param="model")
            self._schedule.add(scheduled)
            self._wake.notify_all()
        return stream

    def load_adapter(self, adapter: interface.AdapterFiles) -> None:
        """Load an adapter between two steps; blocks until it is usable."""
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def errand() -> None:
            try:
                self._runner.load_adapter(adapter)
                self._adapters.add(adapter.digest)
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        with self._wake:
            if self._closed:
                raise errors.Unavailable("The engine is closed.")
            self._errands.append(errand)
            self._wake.notify_all()
        done.result()

    def stats(self) -> generation.Stats:
        """What is going on."""
        with self._wake:
            running = self._schedule.running
            adapters = {item.request.adapter for item in running} - {None}
            filled = sum(item.computed for item in running)
            return generation.Stats(
                running=len(running),
                waiting=self._schedule.waiting,
                slots=self._schedule.slots,
                cache_usage=filled / (self._schedule.slots * self._schedule.max_context),
                running_adapters=tuple(sorted(digest for digest in adapters if digest)),
                steps=self._steps,
                generated_tokens=self._generated,
            )

    def heartbeat_age(self) -> float:
        """Seconds since the last step, or since the last look at an empty queue."""
        return time.monotonic() - self._beat

    async def drain(self, cap_seconds: float) -> bool:
        """Admit nothing more and wait for what runs; False when the cap came first."""
        with self._wake:
            self._draining = True
        deadline = time.monotonic() + cap_seconds
        while self._busy():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def close(self) -> None:
        """Stop the thread; requests that still run end with an error."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join(timeout=30)

    def _busy(self) -> bool:
        with self._wake:
            return self._schedule.busy

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._closed or self._errands or self._schedule.busy):
                    self._touch()
                    self._wake.wait(timeout=1.0)
                if self._closed:
                    break
                errands = list(self._errands)
                self._errands.clear()
            for errand in errands:
                errand()
            with self._wake:
                segments = self._schedule.plan()
            if segments:
                self._step(segments)
            self._touch()
        with self._wake:
            left = self._schedule.take_all()
        for scheduled in left:
            scheduled.deliver(errors.Unavailable("The server stopped before the answer ended."))

    def _step(self, segments: list[scheduling.Segment]) -> None:
        drawn = self._drawn(segments)
        done = [segment for segment in segments if segment in drawn]
        tokens = [token for segment in done for token in drawn[segment]]
        self._failures = 0 if done else self._failures + 1
        with self._wake:
            failed = self._schedule.take([item for item in segments if item not in drawn])
            events = list(self._schedule.apply(done, tokens))
            self._steps += 1
            self._generated += len(tokens)
        for scheduled in failed:
            scheduled.deliver(errors.EngineFailed("The engine failed on this request."))
        for scheduled, event in events:
            scheduled.deliver(event)

    def _drawn(self, segments: list[scheduling.Segment]) -> dict[scheduling.Segment, list[int]]:
        """What each segment drew: one token if it samples, else none; those that fail are left out.

        One request must not end its neighbors, whatever is wrong with it.
        """
        try:
            tokens = iter(self._runner.step(segments))
        except Exception:
            if len(segments) == 1:
                _log.exception("a request failed and ends with an error")
                return {}
            _log.warning("a step of %d requests failed; each is tried alone", len(segments))
            alone = (self._drawn([segment]) for segment in segments)
            return {segment: tokens for one in alone for segment, tokens in one.items()}
        return {segment: [next(tokens)] if segment.sample else [] for segment in segments}

    def _touch(self) -> None:
        if self._failures < FAILURES_BEFORE_UNHEALTHY:
            self._beat = time.monotonic()


class _Stream:
    """Carries events from the engine's thread to one reader in an event loop."""

    scheduled: scheduling.ScheduledRequest

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: threading.Condition) -> None:
        self._loop = loop
        self._wake = wake
        self._events: asyncio.Queue[generation.TokenEvent | errors.Rejection] = asyncio.Queue()

    def deliver(self, event: generation.TokenEvent | errors.Rejection) -> None:
        """Hand over one event; called from the engine's thread."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # The reader's event loop is closed: nobody waits any more.
            self.cancel()

    async def __aiter__(self) -> AsyncIterator[generation.TokenEvent]:
        while True:
            event = await self._events.get()
            if isinstance(event, errors.Rejection):
                raise event
            yield event
            if event.finish is not None:
                return

    def cancel(self) -> None:
        """Free the slot before the next step."""
        self.scheduled.canceled = True
