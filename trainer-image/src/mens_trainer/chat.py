"""A conversation as tokens: the base's own chat template, and which tokens are supervised.

Only answers are supervised, each up to and with the special token that ends its turn. The rendered
text is tokenized as a whole and the mask follows from characters, because some tokenizers (Llama 2,
Mistral) put a space before whatever they are given: pieces would hold spaces that no text has. The
one exception are prompts: the model is given them alone, so where their tokens would be others
beside an answer (a line break before it merges with its own), the text is cut between both.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mens.api import reasons
from mens_trainer import errors

_PROBE: Final = ({"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"})
"""The plainest conversation; a template that cannot render it renders none."""


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used."""

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
class Answer:
    """Where an answer lies in a rendered conversation, in characters."""

    prompt: int
    """End of what the model is asked with."""
    start: int
    """Its first character; a template may put an empty `<think>` block before it."""
    end: int
    """The character after its last one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as tokens."""

    ids: list[int]
    """Token ids."""
    starts: list[int]
    """First character of each."""
    ends: list[int]
    """The character after the last one of each."""


class Encoder:
    """Renders conversations and tokenizes them.

    Args:
        tokenizer: The base model's.

    Raises:
        errors.InputWrong: The tokenizer cannot render, or its template ends no answer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise _no_chat(
                "the base model has no chat template: import an instruct model, or add "
                "chat_template.jinja to the model's folder and import it to a folder of its own"
            )
        if not tokenizer.is_fast:
            raise _no_chat(
                "the base model's tokenizer does not say which characters a token stands for: add "
                "its tokenizer.json to the model's folder and import it to a folder of its own"
            )
        added = tokenizer.added_tokens_decoder.items()
        self._special = frozenset(tokenizer.all_special_ids) | {i for i, t in added if t.special}
        with errors.blamed(
            lambda words: _no_chat(
                f"the base model's chat template or tokenizer does not work ({words}): correct "
                "chat_template.jinja and tokenizer.json in its folder and import it to a folder "
                "of its own"
            )
        ):
            ids, mask = self.encode([dict(turn) for turn in _PROBE])
        if not any(mask) or ids[-1] not in self._special:
            raise _no_chat(
                "the base model's chat template puts no special token after an answer, so that no "
                "adapter could learn where to stop: let chat_template.jinja in the model's folder "
                "end each assistant turn with its end-of-turn token and import it to a folder of "
                "its own"
            )

    def encode(self, turns: list[dict[str, str]]) -> tuple[list[int], bytearray]:
        """Token ids of a conversation, and for each whether it is supervised; 1 says yes.

        Ends with the last answer: what a template puts after it predicts and teaches nothing.
        """
        text, found = self._answers(turns)
        tokens = self._tokens(text, [answer.prompt for answer in found])
        mask = bytearray(len(tokens.ids))
        last = 0
        for answer in found:
            # By ends: a token may hold the space before an answer, and some tokenizers count none
            # of its spaces among a token's characters.
            first = max(
                bisect.bisect_right(tokens.ends, answer.start),
                bisect.bisect_left(tokens.starts, answer.prompt),
            )
            last = self._stop(text, tokens, answer)
            mask[first:last] = bytes([1]) * (last - first)
        return tokens.ids[:last], mask[:last]

    def _answers(self, turns: list[dict[str, str]]) -> tuple[str, list[Answer]]:
        """The rendered conversation, and the answers in it.

        Every answer whose rendering stays the same when the conversation goes on counts; a template
        that rewrites earlier turns (it drops their reasoning) leaves the last answer only.
        """
        whole = self._render(turns, prompt=False)
        found: list[Answer] = []
        for i, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            prompt = self._render(turns[:i], prompt=True)
            place = _place(whole, turn["content"], len(prompt))
            overlaps = found and len(prompt) < found[-1].end
            if place is not None and whole.startswith(prompt) and not overlaps:
                found.append(Answer(len(prompt), *place))
        return whole, found

    def _render(self, turns: list[dict[str, str]], *, prompt: bool) -> str:
        return self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=prompt
        )

    def _tokens(self, text: str, borders: Sequence[int]) -> Tokens:
        """Tokenize a text; what lies before a border becomes the tokens it is when alone."""
        whole, *prompts = self._call([text, *(text[:border] for border in borders)])
        cuts = [
            border
            for border, alone in zip(borders, prompts, strict=True)
            if whole.ids[: len(alone.ids)] != alone.ids
        ]
        if not cuts:
            return whole
        begins = [0, *cuts]
        pieces = [text[a:b] for a, b in itertools.pairwise([*begins, len(text)])]
        joined = Tokens([], [], [])
        for begin, piece in zip(begins, self._call(pieces), strict=True):
            joined.ids.extend(piece.ids)
            joined.starts.extend(begin + at for at in piece.starts)
            joined.ends.extend(begin + at for at in piece.ends)
        return joined

    def _call(self, texts: list[str]) -> list[Tokens]:
        found = self._tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        return [
            Tokens(ids, [start for start, _ in spans], [end for _, end in spans])
            for ids, spans in zip(found["input_ids"], found["offset_mapping"], strict=True)
        ]

    def _stop(self, text: str, tokens: Tokens, answer: Answer) -> int:
        """Index after an answer's last token: its end of turn if nothing but space is between."""
        after = bisect.bisect_left(tokens.starts, answer.end)
        for i in range(after, len(tokens.ids)):
            if tokens.ids[i] in self._special:
                return after if text[answer.end : tokens.starts[i]].strip() else i + 1
        return after


def _place(whole: str, content: str, after: int) -> tuple[int, int] | None:
    """Where the content of an answer begins and ends; many templates trim it."""
    core = content.strip()
    start = whole.find(core, after)
    if not core or start < 0:
        return None
    begin = start - content.index(core)
    if begin >= after and whole.startswith(content, begin):
        return begin, begin + len(content)
    return start, start + len(core)


def conversation(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The turns of a row; accepts upstream's spellings."""
    turns = row.get("messages") or row.get("turns")
    if turns is None:
        prompt = row.get("prompt", row.get("instruction"))
        answer = row.get("response", row.get("output"))
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    if not isinstance(turns, list) or not turns:
        raise invalid(f"row {row.get('id', '?')} has neither prompt and response nor messages")
    checked = []
    for turn in turns:
        role, content = (
            (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else 2 * (None,)
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise invalid(f"row {row.get('id', '?')} has a turn without role and content")
        checked.append({"role": role, "content": content})
    return checked


def invalid(message: str) -> errors.InputWrong:
    """The corpus cannot be trained on."""
    return errors.InputWrong(reasons.CORPUS_INVALID, message)


def _no_chat(message: str) -> errors.InputWrong:
    return errors.InputWrong(reasons.BASE_MODEL_INVALID, message)
