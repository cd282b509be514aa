"""Which request computes what in the next step: a queue, slots and chunked prompts; pure.

Requests join and leave between steps. A step holds at most `token_budget` tokens: first one token
for every answer in progress, then chunks of prompts, oldest first, so that a long prompt delays the
others' next token by one chunk and not by its whole length.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from mens_server.protocol import errors, generation

TOKEN_BUDGET: Final = 256
"""Tokens in one step: about 0.5 s of prompt for a 135 M model on two CPU threads."""


@dataclass(eq=False, slots=True)
class ScheduledRequest:
    """A request in progress."""

    request: generation.GenerationRequest
    deliver: Callable[[generation.TokenEvent | errors.Rejection], None]
    """Called from the engine's thread with each event, or with why there will be no more."""
    slot: int = -1
    """Index of its key-value slot; -1 while it waits."""
    tokens: list[int] = field(default_factory=list)
    """Prompt and answer so far."""
    computed: int = 0
    """How many of `tokens` have their keys and values in the slot."""
    canceled: bool = False
    """Set by any thread; honored before the next step."""

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - len(self.request.prompt)


@dataclass(frozen=True, slots=True)
class Segment:
    """What one request computes in one step."""

    scheduled: ScheduledRequest
    slot: int
    """Its key-value slot."""
    start: int
    """Position of the first token."""
    tokens: tuple[int, ...]
    """Tokens to compute."""
    sample: bool
    """Whether the last of them is the end of what is known, so that a new one is drawn."""


class Schedule:
    """Slots and the queue before them; the caller serializes access."""

    def __init__(
        self,
        *,
        slots: int,
        max_queue: int,
        max_context: int,
        vocabulary: int,
        stop_tokens: frozenset[int],
        token_budget: int = TOKEN_BUDGET,
    ) -> None:
        self.slots: Final = slots
        self.max_queue: Final = max_queue
        self.max_context: Final = max_context
        self._vocabulary = vocabulary
        self._stop_tokens = stop_tokens
        self._token_budget = max(token_budget, slots)
        self._waiting: collections.deque[ScheduledRequest] = collections.deque()
        self._running: dict[int, ScheduledRequest] = {}

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(not scheduled.canceled for scheduled in self._waiting)

    @property
    def running(self) -> tuple[ScheduledRequest, ...]:
        """Requests that hold a slot."""
        return tuple(self._running.values())

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting or self._running)

    def add(self, scheduled: ScheduledRequest) -> None:
        """Queue a request, or say why not."""
        request = scheduled.request
        needed = len(request.prompt) + request.max_tokens
        if not request.prompt:
            raise errors.InvalidRequest("The prompt is empty.", param="prompt")
        if (highest := max(request.prompt)) >= self._vocabulary:
            raise errors.InvalidRequest(
                f"The prompt holds the token {highest}, but the model's tokens end at "
                f"{self._vocabulary - 1}: use the base model's own tokenizer, or send text.",
                param="prompt",
            )
        if needed > self.max_context:
            raise errors.ContextTooLong(
                f"The prompt has {len(request.prompt)} tokens and {request.max_tokens} were asked "
                f"for, but the context holds {self.max_context}.",
                param="max_tokens",
            )
        # A free slot takes a request out of the queue at the next step, so it does not count.
        if self.waiting >= self.max_queue + self.slots - len(self._running):
            raise errors.QueueFull(
                f"{self.waiting} requests wait and {len(self._running)} run: try again later.",
                retry_after_seconds=1 + self.waiting // max(1, self.slots),
            )
        scheduled.tokens = list(request.prompt)
        self._waiting.append(scheduled)

    def plan(self) -> list[Segment]:
        """Let requests leave and join, and share the next step among them."""
        self._drop_cancelled()
        self._admit()
        budget = self._token_budget
        segments = []
        # Answers in progress lack exactly one token; they come first.
        for scheduled in sorted(self._running.values(), key=_in_prompt):
            count = min(_missing(scheduled), budget)
            if count:
                segments.append(_segment(scheduled, count))
                budget -= count
        return segments

    def apply(
        self, segments: Sequence[Segment], drawn: Sequence[int]
    ) -> Iterator[tuple[ScheduledRequest, generation.TokenEvent]]:
        """Record a step's result; `drawn` has one token per segment that samples, in order."""
        tokens = iter(drawn)
        for segment in segments:
            scheduled = segment.scheduled
            scheduled.computed += len(segment.tokens)
            if not segment.sample:
                continue
            token = next(tokens)
            scheduled.tokens.append(token)
            finish = self._finish(scheduled, token)
            if finish is not None:
                del self._running[scheduled.slot]
            yield scheduled, generation.TokenEvent(token, finish)

    def take_all(self) -> list[ScheduledRequest]:
        """Remove and return every request: the engine ends."""
        everything = [*self._running.values(), *self._waiting]
        self._running.clear()
        self._waiting.clear()
        return everything

    def take(self, segments: Sequence[Segment]) -> list[ScheduledRequest]:
        """Remove and return the requests of a step that failed."""
        return [
            scheduled
            for segment in segments
            if (scheduled := self._running.pop(segment.slot, None)) is not None
        ]

    def _finish(self, scheduled: ScheduledRequest, token: int) -> generation.FinishReason | None:
        if token in self._stop_tokens:
            return generation.FinishReason.STOP
        if scheduled.generated >= scheduled.request.max_tokens:
            return generation.FinishReason.LENGTH
        return None

    def _drop_cancelled(self) -> None:
        for slot in [slot for slot, item in self._running.items() if item.canceled]:
            del self._running[slot]
        self._waiting = collections.deque(item for item in self._waiting if not item.canceled)

    def _admit(self) -> None:
        # The lowest free slot keeps the slots in use contiguous, so attention reads a view.
        free = (slot for slot in range(self.slots) if slot not in self._running)
        while self._waiting and (slot := next(free, None)) is not None:
            scheduled = self._waiting.popleft()
            scheduled.slot = slot
            self._running[slot] = scheduled


def _missing(scheduled: ScheduledRequest) -> int:
    return len(scheduled.tokens) - scheduled.computed


def _in_prompt(scheduled: ScheduledRequest) -> bool:
    return _missing(scheduled) != 1


def _segment(scheduled: ScheduledRequest, count: int) -> Segment:
    start, end = scheduled.computed, scheduled.computed + count
    return Segment(
        scheduled=scheduled,
        slot=scheduled.slot,
        start=start,
        tokens=tuple(scheduled.tokens[start:end]),
        sample=end == len(scheduled.tokens),
    )
