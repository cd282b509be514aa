"""What every engine offers, whatever computes the tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mens_server.protocol import generation


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """A verified adapter on disk."""

    digest: str
    """SHA-256 of its manifest; the name an engine knows it by."""
    folder: Path
    """Where its files lie."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """system, user or assistant."""
    content: str
    """Its text."""


class Tokenizer(Protocol):
    """Text to token ids and back, as the base model does it."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a plain text."""
        ...

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, up to where the assistant's turn begins."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        ...


class TokenStream(Protocol):
    """The events of one request; ends after the event that has `finish`."""

    def __aiter__(self) -> AsyncIterator[generation.TokenEvent]:
        """Events, one per token."""
        ...

    def cancel(self) -> None:
        """Free the slot within one step; nothing happens when the request has ended."""
        ...


class Engine(Protocol):
    """Answers requests; every method but `close` and `load_adapter` returns at once."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the base."""
        ...

    @property
    def max_context(self) -> int:
        """Most tokens of prompt and answer together."""
        ...

    @property
    def note(self) -> str:
        """What its user should know, as fewer slots than asked for; empty when there is nothing."""
        ...

    def submit(self, request: generation.GenerationRequest) -> TokenStream:
        """Queue a request.

        Raises:
            QueueFull: As many requests wait as may wait.
            Unavailable: The engine is draining.
            ContextTooLong: Prompt and answer do not fit.
            ModelNotFound: The adapter is not loaded.
        """
        ...

    def load_adapter(self, adapter: AdapterFiles) -> None:
        """Load an adapter between two steps; blocks, call it from a thread.

        Raises:
            InvalidModelError: Its files are not an adapter that this engine can load.
        """
        ...

    def stats(self) -> generation.Stats:
        """What is going on."""
        ...

    def heartbeat_age(self) -> float:
        """Seconds since the engine last showed that it lives."""
        ...

    async def drain(self, cap_seconds: float) -> bool:
        """Admit nothing more and wait for what runs; False when the cap came first."""
        ...

    def close(self) -> None:
        """Stop; requests that still run end with an error."""
        ...
