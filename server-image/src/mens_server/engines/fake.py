"""An engine without a model: deterministic, for tests of everything around it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Final

from mens_server.engines import interface, scheduling

END: Final = 256
"""Id of the end-of-turn token; ids below are bytes."""
FAIL: Final = "\x15"
"""A prompt with this character (negative acknowledge) makes its step fail."""

_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz "


class ByteTokenizer:
    """One token per byte of UTF-8."""

    def encode(self, text: str) -> list[int]:
        """Bytes of the text."""
        return list(text.encode())

    def render(self, messages: Sequence[interface.Message]) -> list[int]:
        """Bytes of the turns, one line each."""
        return self.encode("".join(f"{turn.role}: {turn.content}\n" for turn in messages))

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of the bytes; an incomplete character becomes U+FFFD."""
        return bytes(token for token in tokens if token != END).decode(errors="replace")


class FakeRunner:
    """Draws letters from a hash of adapter, prompt, seed and position."""

    def __init__(
        self,
        *,
        slots: int = 8,
        max_context: int = 1024,
        step_seconds: float = 0.0,
        answer_tokens: int = 24,
    ) -> None:
        self._slots = slots
        self._max_context = max_context
        self._step_seconds = step_seconds
        self._answer_tokens = answer_tokens
        self.loaded: list[str] = []

    @property
    def tokenizer(self) -> interface.Tokenizer:
        """Bytes."""
        return ByteTokenizer()

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The one end-of-turn token."""
        return frozenset({END})

    @property
    def vocabulary(self) -> int:
        """Bytes and the end."""
        return END + 1

    @property
    def max_context(self) -> int:
        """Positions that a slot holds."""
        return self._max_context

    @property
    def slots(self) -> int:
        """Requests that can be computed together."""
        return self._slots

    @property
    def note(self) -> str:
        """Nothing."""
        return ""

    def step(self, segments: Sequence[scheduling.Segment]) -> list[int]:
        """One letter for each segment that samples."""
        if self._step_seconds:
            time.sleep(self._step_seconds)
        return [self._draw(segment) for segment in segments if segment.sample]

    def load_adapter(self, adapter: interface.AdapterFiles) -> None:
        """Remember the digest."""
        self.loaded.append(adapter.digest)

    def _draw(self, segment: scheduling.Segment) -> int:
        request, position = segment.scheduled.request, segment.scheduled.generated
        if ord(FAIL) in request.prompt:
            raise ArithmeticError("the prompt asked the fake engine to fail")
        if position >= self._answer_tokens:
            return END
        sampling = request.sampling
        seed = sampling.seed if sampling.temperature > 0 else None
        if sampling.temperature > 0 and seed is None:
            seed = time.monotonic_ns()
        facts = f"{request.adapter}|{request.prompt}|{seed}|{position}"
        return _LETTERS[hashlib.sha256(facts.encode()).digest()[0] % len(_LETTERS)]
