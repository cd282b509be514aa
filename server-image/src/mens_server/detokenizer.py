"""From an engine's tokens to text: incomplete characters, stop strings, and the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from mens_server.engines import interface
from mens_server.protocol import generation

_UNFINISHED: Final = "\ufffd"


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer."""

    text: str
    """May be empty while a character or a stop string is incomplete."""
    tokens: int
    """Tokens of the answer so far."""
    finish: generation.FinishReason | None = None
    """Set on the last piece."""


class Detokenizer:
    """Text of a growing list of tokens; what was given out never changes.

    Law: the pieces joined are `tokenizer.decode(all tokens)`, for tokenizers where a token's text
    depends on its left neighbors only through the last few.
    """

    def __init__(self, tokenizer: interface.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._shown = 0
        self._context = 0

    def add(self, token: int) -> str:
        """Text that has become certain."""
        self._tokens.append(token)
        return self._flush(final=False)

    def end(self) -> str:
        """The rest, even when its last character is incomplete."""
        return self._flush(final=True)

    def _flush(self, *, final: bool) -> str:
        before = self._tokenizer.decode(self._tokens[self._context : self._shown])
        text = self._tokenizer.decode(self._tokens[self._context :])
        # A real U+FFFD waits for the next token too; nothing is lost by that.
        if not final and text.endswith(_UNFINISHED):
            return ""
        self._context, self._shown = self._shown, len(self._tokens)
        return text[len(before) :]


class StopScanner:
    """Holds text back while it may be the beginning of a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def add(self, text: str) -> tuple[str, bool]:
        """Text that may be shown, and whether a stop string came."""
        if not self._stops:
            return text, False
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            return self._held[: min(found)], True
        keep = max(self._overlap(stop) for stop in self._stops)
        end = len(self._held) - keep
        shown, self._held = self._held[:end], self._held[end:]
        return shown, False

    def end(self) -> str:
        """Return the text that was held back and is not a stop string."""
        return self._held

    def _overlap(self, stop: str) -> int:
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)


async def deltas(
    stream: interface.TokenStream, tokenizer: interface.Tokenizer, stops: Sequence[str]
) -> AsyncIterator[Delta]:
    """Pieces of text; leaving the iteration early frees the engine's slot."""
    detokenizer, scanner = Detokenizer(tokenizer), StopScanner(stops)
    count = 0
    try:
        async for event in stream:
            count += 1
            ended = event.finish is generation.FinishReason.STOP
            text = "" if ended else detokenizer.add(event.token)
            if event.finish is not None:
                text += detokenizer.end()
            shown, stopped = scanner.add(text)
            if stopped:
                yield Delta(shown, count, generation.FinishReason.STOP)
                return
            if event.finish is not None:
                yield Delta(shown + scanner.end(), count, event.finish)
                return
            yield Delta(shown, count)
    finally:
        stream.cancel()
