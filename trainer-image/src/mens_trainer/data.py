"""Rows to tokens: chat template, which tokens are supervised, and what was left out and why.

The model is asked in the words of its own chat template and only the answer is supervised, up to
and with the end of turn. Prompt and answer are tokenised apart, as they are when the model
answers: a token never spans the border.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import zstandard

from mens.api import reasons
from mens_trainer import errors, recipe

TRAIN: Final = "train.jsonl.zst"
"""Name of the rows to train on in a corpus."""
VALIDATION: Final = "validation.jsonl.zst"
"""Name of the held-out rows in a corpus."""

_MAX_LINE: Final = 64 * 2**20
"""Longest line in bytes; a longer one is no row, and must not fill the memory."""

Message = Mapping[str, str]
"""One turn: role and content."""


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used."""

    chat_template: str | None
    eos_token: str | None

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """Render a conversation."""

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Mapping[str, Any]:
        """Tokenise texts; `input_ids` holds their token ids."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row as tokens."""

    tokens: tuple[int, ...]
    """Token ids of prompt and answer."""
    supervised: tuple[bool, ...]
    """Which of them the model has to predict; the first token never is."""

    @property
    def targets(self) -> int:
        """How many tokens are supervised."""
        return sum(self.supervised)


@dataclass(frozen=True, slots=True)
class Facts:
    """What became of the rows of one file."""

    rows: int
    """Rows in the file that were looked at."""
    used: int
    """Rows that are trained or evaluated on."""
    too_long: int
    """Rows left out because they have more than `max_tokens` tokens."""
    unsupervised: int
    """Rows left out because no token of them is supervised."""
    tokens: int
    """Tokens of the used rows."""
    targets: int
    """Supervised tokens among them."""
    longest: int
    """Tokens of the longest used row."""
    max_token: int
    """The largest token id."""

    @property
    def supervised_share(self) -> float:
        """Supervised tokens among all."""
        return self.targets / self.tokens if self.tokens else 0.0


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a `.jsonl.zst` file; one that is no row is `CorpusInvalid`."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for number, line in enumerate(_lines(stream, path), start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise invalid(f"line {number} of {path.name} is not a JSON object")
            yield row


def _lines(stream: zstandard.ZstdDecompressionReader, path: Path) -> Iterator[bytes]:
    rest = b""
    while True:
        try:
            chunk = stream.read(2**20)
        except zstandard.ZstdError as e:
            raise invalid(f"{path.name} is not a Zstandard file") from e
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
        if len(rest) > _MAX_LINE:
            raise invalid(f"{path.name} has a line of more than {_MAX_LINE} bytes")
    if rest.strip():
        yield rest


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


def segments(turns: list[dict[str, str]], tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """The rendered conversation in pieces, each with whether it is supervised.

    Every answer whose rendering stays the same when the conversation goes on is supervised; a
    template that rewrites earlier turns (it drops their reasoning) leaves the last answer only.
    What a template puts before the content of an answer (an empty `<think>` block) is part of the
    prompt and not supervised.
    """
    whole = _render(tokenizer, turns, prompt=False)
    answers = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    pieces: list[tuple[str, bool]] = []
    at = 0
    for i in answers:
        begin = _render(tokenizer, turns[:i], prompt=True)
        if not whole.startswith(begin) or len(begin) < at:
            continue
        content = turns[i]["content"]
        start = whole.find(content, len(begin))
        end = _end_of_turn(whole, start + len(content), tokenizer.eos_token)
        if start < 0 or not content:
            continue
        pieces += [(whole[at:start], False), (whole[start:end], True)]
        at = end
    return pieces


def _end_of_turn(whole: str, at: int, eos: str | None) -> int:
    """Where the end-of-turn token that follows an answer ends; `at` if none follows."""
    if eos and whole.startswith(eos, at):
        return at + len(eos)
    stripped = at + len(whole[at:]) - len(whole[at:].lstrip())
    return stripped + len(eos) if eos and whole.startswith(eos, stripped) else at


def _render(tokenizer: Tokenizer, turns: list[dict[str, str]], *, prompt: bool) -> str:
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)


def example(pieces: list[tuple[list[int], bool]], last_k: int) -> Example:
    """Tokens of the pieces with the mask; of the supervised ones only the last K if K > 0."""
    tokens: list[int] = []
    mask: list[bool] = []
    for ids, supervised in pieces:
        tokens += ids
        mask += [supervised] * len(ids)
    if mask:
        mask[0] = False  # nothing comes before the first token that could predict it
    surplus = sum(mask) - last_k if last_k else 0
    for i, supervised in enumerate(mask):
        if surplus <= 0:
            break
        if supervised:
            mask[i] = False
            surplus -= 1
    return Example(tuple(tokens), tuple(mask))


def tokenise(
    source: Iterable[Mapping[str, Any]],
    tokenizer: Tokenizer,
    plan: recipe.Recipe,
    *,
    at_most: int | None = None,
) -> tuple[list[Example], Facts]:
    """Rows to examples, with an account of all of them.

    Args:
        source: Rows of a corpus.
        tokenizer: The base model's.
        plan: Says how long a row may be and what is supervised.
        at_most: Stop after so many usable rows; None uses all.
    """
    examples: list[Example] = []
    seen = too_long = unsupervised = 0
    for row in source:
        if at_most is not None and len(examples) == at_most:
            break
        seen += 1
        pieces = segments(conversation(row), tokenizer)
        ids = (
            tokenizer([p[0] for p in pieces], add_special_tokens=False)["input_ids"]
            if pieces
            else []
        )
        made = example([(i, p[1]) for i, p in zip(ids, pieces, strict=True)], plan.ce_last_k)
        if not made.targets:
            unsupervised += 1
        elif len(made.tokens) > plan.max_tokens:
            too_long += 1
        else:
            examples.append(made)
    return examples, Facts(
        rows=seen,
        used=len(examples),
        too_long=too_long,
        unsupervised=unsupervised,
        tokens=sum(len(e.tokens) for e in examples),
        targets=sum(e.targets for e in examples),
        longest=max((len(e.tokens) for e in examples), default=0),
        max_token=max((max(e.tokens) for e in examples), default=-1),
    )


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that cannot render a conversation."""
    if not tokenizer.chat_template:
        raise errors.InputWrong(
            reasons.BASE_MODEL_INVALID,
            "the base model has no chat template: import an instruct model, or add "
            "chat_template.jinja to the model's folder and import it again",
        )


def check(name: str, facts: Facts, *, vocabulary: int, context: int | None) -> None:
    """Refuse rows that cannot be trained on, with what to change.

    Args:
        name: Which rows, for the message.
        facts: Their account.
        vocabulary: Rows of the model's embedding.
        context: Positions the model was made for; None where its config does not say.
    """
    if not facts.rows:
        reason = reasons.EMPTY_CORPUS if name == "train" else reasons.NO_VALIDATION_ROWS
        raise errors.InputWrong(reason, f"the corpus has no {name} rows: look at its accounting")
    if not facts.used:
        raise invalid(
            f"none of {facts.rows} {name} rows can be used: {facts.too_long} have more tokens than "
            f"schedule.maxTokens, {facts.unsupervised} have no answer; raise maxTokens or fix the "
            "sources"
        )
    if facts.max_token >= vocabulary:
        raise errors.InputWrong(
            reasons.BASE_MODEL_INVALID,
            f"{name} rows hold token id {facts.max_token}, but the model knows {vocabulary}: its "
            "tokenizer belongs to another model; import the model with its own tokenizer",
        )
    if context and facts.longest > context:
        raise invalid(
            f"a {name} row has {facts.longest} tokens and the model takes {context}: set "
            f"schedule.maxTokens to {context} or less"
        )


def invalid(message: str) -> errors.InputWrong:
    """The corpus cannot be trained on."""
    return errors.InputWrong(reasons.CORPUS_INVALID, message)
