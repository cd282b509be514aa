"""The rows of a corpus: read, tokenized, and what was left out and why."""

from __future__ import annotations

import array
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zstandard

from mens.api import reasons
from mens_trainer import chat, errors, recipe

TRAIN: Final = "train.jsonl.zst"
"""Name of the rows to train on in a corpus."""
VALIDATION: Final = "validation.jsonl.zst"
"""Name of the held-out rows in a corpus."""

_MAX_LINE: Final = 64 * 2**20
"""Longest line in bytes; a longer one is no row, and must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row as tokens; five bytes each, since all rows of a corpus are held."""

    tokens: array.array[int]
    """Token ids of prompt and answer, 32 bits each; nobody changes them."""
    supervised: bytes
    """1 for those that the model has to predict, else 0; the first token is always 0."""

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
    most_targets: int
    """Supervised tokens of the used row that has most of them."""
    max_token: int
    """The largest token id."""

    @property
    def supervised_share(self) -> float:
        """Supervised tokens among all."""
        return self.targets / self.tokens if self.tokens else 0.0


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a `.jsonl.zst` file; one that is no row is `CorpusInvalid`."""
    if not path.is_file():
        raise chat.invalid(f"the corpus has no {path.name}: build it again with a MensCorpus")
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for number, line in enumerate(_lines(stream, path), start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise chat.invalid(f"line {number} of {path.name} is not a JSON object")
            yield row


def _lines(stream: zstandard.ZstdDecompressionReader, path: Path) -> Iterator[bytes]:
    rest = b""
    while True:
        try:
            chunk = stream.read(2**20)
        except zstandard.ZstdError as e:
            raise chat.invalid(f"{path.name} is not a Zstandard file") from e
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
        if len(rest) > _MAX_LINE:
            raise chat.invalid(f"{path.name} has a line of more than {_MAX_LINE} bytes")
    if rest.strip():
        yield rest


def example(tokens: Sequence[int], supervised: Sequence[int], last_k: int) -> Example:
    """A row of these tokens; of the supervised ones only the last K if K > 0."""
    mask = bytearray(supervised)
    mask[:1] = b"\0"[: len(mask)]  # nothing comes before the first token that could predict it
    surplus = sum(mask) - last_k if last_k else 0
    for i in itertools.compress(range(len(mask)), bytes(mask)):
        if surplus <= 0:
            break
        mask[i] = 0
        surplus -= 1
    return Example(array.array("i", tokens), bytes(mask))


def tokenize(
    source: Iterable[Mapping[str, Any]],
    encoder: chat.Encoder,
    plan: recipe.Recipe,
    *,
    at_most: int | None = None,
) -> tuple[list[Example], Facts]:
    """Rows to examples, with an account of all of them.

    Args:
        source: Rows of a corpus.
        encoder: Of the base model's tokenizer.
        plan: Says how long a row may be and what is supervised.
        at_most: Stop after so many usable rows; None uses all.
    """
    examples: list[Example] = []
    seen = too_long = unsupervised = 0
    for row in source:
        if at_most is not None and len(examples) == at_most:
            break
        seen += 1
        turns = chat.conversation(row)
        with errors.blamed(functools.partial(_not_rendered, row)):
            made = example(*encoder.encode(turns), plan.ce_last_k)
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
        most_targets=max((e.targets for e in examples), default=0),
        max_token=max((max(e.tokens) for e in examples), default=-1),
    )


def _not_rendered(row: Mapping[str, Any], words: str) -> errors.InputWrong:
    return chat.invalid(
        f"row {row.get('id', '?')} is refused by the base model's chat template or tokenizer "
        f"({words}): change the row's turns, or train a base whose template takes them"
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
        raise _no_rows(name)
    if not facts.used:
        raise chat.invalid(
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
        raise chat.invalid(
            f"a {name} row has {facts.longest} tokens and the model takes {context}: set "
            f"schedule.maxTokens to {context} or less"
        )


def _no_rows(name: str) -> errors.InputWrong:
    if name == "train":
        return errors.InputWrong(
            reasons.EMPTY_CORPUS,
            "the corpus has no rows to train on: look at the skipped and quarantined rows of its "
            "accounting, and add sources to the MensCorpus or correct them",
        )
    return errors.InputWrong(
        reasons.NO_VALIDATION_ROWS,
        "the corpus has no held-out rows, and a run measures its loss on them: set "
        'spec.split.validationFraction of the MensCorpus above 0 ("0.1" holds out a tenth)',
    )
