"""A conversation as token ids: the base model's chat template, and the label mask.

Only assistant turns are supervised, each up to and including the special token that ends it. The
rendered text is tokenized as a whole and the mask is derived from character offsets, because some
tokenizers (Llama 2, Mistral) prepend a space to every text: tokenizing pieces would add spaces that
the text does not have. Prompts are the exception. At inference the model sees the prompt alone, so
where the prompt's tokens would differ beside an answer (a line break that merges with the answer's
own), the text is split at the end of the prompt.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mens.api import reasons
from mens.runtime import errors
from mens_trainer import library_errors

_PROBE: Final = ({"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"})
"""The simplest conversation; a template that cannot render it cannot render any."""


class Tokenizer(Protocol):
    """The part of `transformers.PreTrainedTokenizerFast` that is used."""

    chat_template: str | None
    is_fast: bool
    all_special_ids: list[int]
    added_tokens_decoder: Mapping[int, Any]

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """Render a conversation."""

    def __call__(
        self, text: list[str], *, add_special_tokens: bool, return_offsets_mapping: bool
    ) -> Mapping[str, Any]:
        """Tokenize texts: `input_ids`, and for each token its characters in `offset_mapping`."""


@dataclass(frozen=True, slots=True)
class AssistantSpan:
    """Position of an assistant turn's content in a rendered conversation, in characters."""

    prompt_end: int
    """End of the prompt."""
    start: int
    """First character of the content; a template may put an empty `<think>` block before it."""
    end: int
    """The character after the last one of the content."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A tokenized text with character offsets."""

    ids: list[int]
    """Token ids."""
    starts: list[int]
    """First character of each token."""
    ends: list[int]
    """The character after the last one of each token."""


class ChatEncoder:
    """Renders conversations with the chat template and tokenizes them.

    Args:
        tokenizer: The base model's tokenizer.

    Raises:
        errors.InvalidInputError: The tokenizer cannot render a conversation, or its template does
            not end an assistant turn with a special token.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise _base_model_invalid(
                "the base model has no chat template: import an instruct model, or add "
                "chat_template.jinja to the model's folder and import it to a new folder"
            )
        if not tokenizer.is_fast:
            raise _base_model_invalid(
                "the base model's tokenizer does not report character offsets: add its "
                "tokenizer.json to the model's folder and import it to a new folder"
            )
        added = tokenizer.added_tokens_decoder.items()
        self._special = frozenset(tokenizer.all_special_ids) | {i for i, t in added if t.special}
        with library_errors.convert(
            lambda cause: _base_model_invalid(
                f"the base model's chat template or tokenizer does not work ({cause}): fix "
                "chat_template.jinja and tokenizer.json in its folder and import it to a new "
                "folder"
            )
        ):
            ids, mask = self.encode([dict(message) for message in _PROBE])
        if not any(mask) or ids[-1] not in self._special:
            raise _base_model_invalid(
                "the base model's chat template has no special token after an assistant turn, so "
                "an adapter cannot learn where to stop: end each assistant turn in "
                "chat_template.jinja with the end-of-turn token and import the model to a new "
                "folder"
            )

    def encode(self, messages: list[dict[str, str]]) -> tuple[list[int], bytearray]:
        """Return the token ids of a conversation and its label mask, 1 for supervised tokens.

        Ends with the last assistant turn: the tokens that a template puts after it are not needed.
        """
        text, spans = self._render_with_spans(messages)
        encoding = self._tokenize(text, [span.prompt_end for span in spans])
        mask = bytearray(len(encoding.ids))
        last = 0
        for span in spans:
            # By ends: a token may include the space before the content, and some tokenizers do not
            # count such spaces among a token's characters.
            first = max(
                bisect.bisect_right(encoding.ends, span.start),
                bisect.bisect_left(encoding.starts, span.prompt_end),
            )
            last = self._end_of_turn(text, encoding, span)
            mask[first:last] = bytes([1]) * (last - first)
        return encoding.ids[:last], mask[:last]

    def _render_with_spans(self, messages: list[dict[str, str]]) -> tuple[str, list[AssistantSpan]]:
        """Return the rendered conversation and the assistant turns in it.

        An assistant turn counts if its rendering does not change when the conversation continues. A
        template that rewrites earlier turns (drops their reasoning) leaves only the last one.
        """
        text = self._render(messages, add_generation_prompt=False)
        spans: list[AssistantSpan] = []
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = self._render(messages[:i], add_generation_prompt=True)
            span = _find_content(text, message["content"], len(prompt))
            overlaps = spans and len(prompt) < spans[-1].end
            if span is not None and text.startswith(prompt) and not overlaps:
                spans.append(AssistantSpan(len(prompt), *span))
        return text, spans

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        return self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )

    def _tokenize(self, text: str, prompt_ends: Sequence[int]) -> Encoding:
        """Tokenize a text; each prompt keeps the tokens that it has when tokenized alone."""
        whole, *prompts = self._call([text, *(text[:end] for end in prompt_ends)])
        splits = [
            end
            for end, alone in zip(prompt_ends, prompts, strict=True)
            if whole.ids[: len(alone.ids)] != alone.ids
        ]
        if not splits:
            return whole
        offsets = [0, *splits]
        pieces = [text[a:b] for a, b in itertools.pairwise([*offsets, len(text)])]
        joined = Encoding([], [], [])
        for offset, piece in zip(offsets, self._call(pieces), strict=True):
            joined.ids.extend(piece.ids)
            joined.starts.extend(offset + start for start in piece.starts)
            joined.ends.extend(offset + end for end in piece.ends)
        return joined

    def _call(self, texts: list[str]) -> list[Encoding]:
        result = self._tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        return [
            Encoding(ids, [start for start, _ in offsets], [end for _, end in offsets])
            for ids, offsets in zip(result["input_ids"], result["offset_mapping"], strict=True)
        ]

    def _end_of_turn(self, text: str, encoding: Encoding, span: AssistantSpan) -> int:
        """Return the index after a turn's last token.

        That token is the end-of-turn token if only whitespace separates it from the content.
        """
        after = bisect.bisect_left(encoding.starts, span.end)
        for i in range(after, len(encoding.ids)):
            if encoding.ids[i] in self._special:
                return after if text[span.end : encoding.starts[i]].strip() else i + 1
        return after


def _find_content(text: str, content: str, after: int) -> tuple[int, int] | None:
    """Return where a message's content begins and ends; many templates trim it."""
    trimmed = content.strip()
    start = text.find(trimmed, after)
    if not trimmed or start < 0:
        return None
    untrimmed_start = start - content.index(trimmed)
    if untrimmed_start >= after and text.startswith(content, untrimmed_start):
        return untrimmed_start, untrimmed_start + len(content)
    return start, start + len(trimmed)


def to_messages(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the messages of a row.

    Accepts `messages` or `turns`, `prompt` and `response`, and `instruction` and `output`.
    """
    messages = row.get("messages") or row.get("turns")
    if messages is None:
        prompt = row.get("prompt", row.get("instruction"))
        response = row.get("response", row.get("output"))
        messages = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
    if not isinstance(messages, list) or not messages:
        raise corpus_invalid(
            f"row {row.get('id', '?')} has neither messages nor prompt and response"
        )
    checked = []
    for message in messages:
        role, content = (
            (message.get("role"), message.get("content"))
            if isinstance(message, dict)
            else (None, None)
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise corpus_invalid(f"row {row.get('id', '?')} has a message without role and content")
        checked.append({"role": role, "content": content})
    return checked


def corpus_invalid(message: str) -> errors.InvalidInputError:
    """Return the error for a corpus that cannot be trained on."""
    return errors.InvalidInputError(reasons.CORPUS_INVALID, message)


def _base_model_invalid(message: str) -> errors.InvalidInputError:
    return errors.InvalidInputError(reasons.BASE_MODEL_INVALID, message)
