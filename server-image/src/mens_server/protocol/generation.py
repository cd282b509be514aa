"""What goes into an engine and what comes out: tokens, and nothing of HTTP or tensors."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class FinishReason(enum.StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model ended its turn, or a stop string appeared."""
    LENGTH = "length"
    """`max_tokens` was reached."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen."""

    temperature: float = 1.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    """Share of probability that may be drawn from, the most likely tokens first."""
    seed: int | None = None
    """Same seed, same prompt, same answer; None draws one."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One request to an engine."""

    prompt: tuple[int, ...]
    """Token ids; at least one."""
    max_tokens: int
    """Most tokens to generate; at least 1."""
    adapter: str | None = None
    """Digest of the adapter that answers; None is the base."""
    sampling: SamplingParams = SamplingParams()
    """How tokens are chosen."""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One generated token."""

    token: int
    """Its id; an end-of-turn token is reported too, with `FinishReason.STOP`."""
    finish: FinishReason | None = None
    """Set on the last event."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What an engine is doing right now."""

    running: int
    """Requests that hold a slot."""
    waiting: int
    """Requests in the queue."""
    slots: int
    """Requests that can be decoded together."""
    cache_usage: float
    """Share of the key-value positions that is filled, 0 to 1."""
    running_adapters: tuple[str, ...] = ()
    """Digests of the adapters that requests are using."""
    steps: int = 0
    """Steps taken since the start."""
    generated_tokens: int = 0
    """Tokens generated since the start."""
