"""What the routes share: the models, the engine once it is there, and one way to ask it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from mens_server import detokenizer, limits, metrics, model_registry, readiness
from mens_server.engines import interface
from mens_server.protocol import errors, generation


@dataclass(frozen=True, slots=True)
class Ask:
    """One question, whatever route it came by."""

    entry: model_registry.ServedModel
    """Who answers."""
    encode: Callable[[interface.Tokenizer], list[int]]
    """Makes the prompt's tokens."""
    sampling: generation.SamplingParams
    """How tokens are chosen."""
    max_tokens: int | None
    """Tokens asked for; None leaves it to the server."""
    stops: tuple[str, ...]
    """Stop strings."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has been admitted."""

    entry: model_registry.ServedModel
    """Who answers."""
    prompt_tokens: int
    """Tokens of the prompt."""
    deltas: AsyncIterator[detokenizer.Delta]
    """Its pieces."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A finished answer."""

    text: str
    """All of it."""
    tokens: int
    """Tokens generated."""
    finish: str
    """Why it ended."""
    first_ns: int
    """When its first token came, on the clock of `time.monotonic_ns`."""


class Service:
    """One server: made before anything is loaded, so that the probes can answer at once."""

    def __init__(self, bounds: limits.Limits, base_name: str) -> None:
        self.limits: Final = bounds
        self.models: Final = model_registry.ModelRegistry()
        self.readiness: Final = readiness.Readiness()
        self.engine: interface.Engine | None = None
        self.metrics: Final = metrics.Metrics(
            self._stats, lambda: self.readiness.ready, self.models, base_name
        )

    @property
    def alive(self) -> bool:
        """Whether the engine's heartbeat is young; loading counts as alive."""
        engine = self.engine
        return engine is None or engine.heartbeat_age() < self.limits.heartbeat_seconds

    def find(self, name: str) -> model_registry.ServedModel:
        """The model of a name; while loading, that nobody answers yet."""
        if self.engine is None or not self.readiness.ready:
            report = self.readiness.report()
            if report["phase"] != readiness.DRAINING:
                why = f" ({report['reason']}: {report['message']})" if report["reason"] else ""
                raise errors.Unavailable(
                    f"The server is not ready yet, phase {report['phase']}{why}: see /ready."
                )
        return self.models.find(name)

    async def begin(self, ask: Ask) -> Answer:
        """Admit a question, or say why not."""
        engine = self.engine
        if engine is None:
            raise errors.Unavailable("The server is not ready yet: see /ready.")
        deadline = time.monotonic() + self.limits.answer_seconds
        # A megabyte of text takes the tokenizer long enough to disturb other answers.
        prompt = await asyncio.to_thread(ask.encode, engine.tokenizer)
        room = engine.max_context - len(prompt)
        if room < 1:
            raise errors.ContextTooLong(
                f"The prompt has {len(prompt)} tokens, but the context holds {engine.max_context}."
            )
        wanted = ask.max_tokens or min(self.limits.default_max_tokens, room)
        request = generation.GenerationRequest(
            tuple(prompt), wanted, ask.entry.adapter, ask.sampling
        )
        stream = engine.submit(request)
        timing = self.metrics.begin(ask.entry.name, len(prompt))
        pieces = detokenizer.deltas(stream, engine.tokenizer, ask.stops)
        return Answer(ask.entry, len(prompt), _timed(pieces, stream, timing, deadline))

    def _stats(self) -> generation.Stats | None:
        return None if self.engine is None else self.engine.stats()


async def whole(answer: Answer) -> Whole:
    """Wait for the end of an answer."""
    text, tokens, finish, first = [], 0, generation.FinishReason.STOP, 0
    async for delta in answer.deltas:
        first = first or time.monotonic_ns()
        text.append(delta.text)
        tokens, finish = delta.tokens, delta.finish or finish
    return Whole("".join(text), tokens, str(finish), first)


async def _timed(
    pieces: AsyncIterator[detokenizer.Delta],
    stream: interface.TokenStream,
    timing: metrics.Timing,
    deadline: float,
) -> AsyncIterator[detokenizer.Delta]:
    """The same pieces, counted, until the deadline."""
    finish = "abort"
    try:
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    delta = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise errors.DeadlineExceeded(
                    "The answer took longer than this server allows: ask for fewer tokens."
                ) from error
            timing.token(delta.tokens)
            if delta.finish is not None:
                finish = str(delta.finish)
            yield delta
    finally:
        stream.cancel()
        timing.end(finish)
