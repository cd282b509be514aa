"""Reading and tokenizing the rows of a corpus, with statistics of the rows that are dropped."""

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
from mens.runtime import errors
from mens_trainer import chat_template, library_errors, recipe

TRAIN: Final = "train.jsonl.zst"
"""File name of the training rows in a corpus."""
VALIDATION: Final = "validation.jsonl.zst"
"""File name of the held-out rows in a corpus."""

_MAX_LINE_BYTES: Final = 64 * 2**20
"""Maximum bytes of a line. A longer one is not a row, and must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Example:
    """A tokenized row; five bytes per token, since all rows of a corpus are held in memory."""

    input_ids: array.array[int]
    """Token ids of prompt and answer, 32 bits each; read-only."""
    label_mask: bytes
    """1 for supervised tokens, else 0; the first token is always 0."""

    @property
    def supervised_tokens(self) -> int:
        """Number of supervised tokens."""
        return sum(self.label_mask)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts over the rows of one file."""

    rows: int
    """Rows that were read."""
    used: int
    """Rows that are used for training or evaluation."""
    too_long: int
    """Rows dropped because they have more than `max_tokens` tokens."""
    unsupervised: int
    """Rows dropped because they have no supervised token."""
    tokens: int
    """Tokens of the used rows."""
    supervised_tokens: int
    """Supervised tokens of the used rows."""
    max_length: int
    """Tokens of the longest used row."""
    max_supervised_tokens: int
    """Maximum supervised tokens in a used row."""
    max_token_id: int
    """Highest token id in the used rows; -1 without rows."""

    @property
    def supervised_share(self) -> float:
        """Fraction of the tokens that are supervised."""
        return self.supervised_tokens / self.tokens if self.tokens else 0.0

    def to_object(self) -> dict[str, int]:
        """Return a JSON object for the preflight contract; its keys are part of the digest."""
        return {
            "rows": self.rows,
            "used": self.used,
            "too_long": self.too_long,
            "unsupervised": self.unsupervised,
            "tokens": self.tokens,
            "targets": self.supervised_tokens,
            "longest": self.max_length,
            "most_targets": self.max_supervised_tokens,
            "max_token": self.max_token_id,
        }


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a `.jsonl.zst` file.

    Raises:
        errors.InvalidInputError: CorpusInvalid: the file is missing or damaged, or a line is not a
            JSON object.
    """
    if not path.is_file():
        raise chat_template.corpus_invalid(
            f"the corpus has no {path.name}: build it again with a MensCorpus"
        )
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for number, line in enumerate(_read_lines(stream, path), start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise chat_template.corpus_invalid(
                    f"line {number} of {path.name} is not a JSON object"
                )
            yield row


def _read_lines(stream: zstandard.ZstdDecompressionReader, path: Path) -> Iterator[bytes]:
    rest = b""
    while True:
        try:
            chunk = stream.read(2**20)
        except zstandard.ZstdError as e:
            raise chat_template.corpus_invalid(f"{path.name} is not a Zstandard file") from e
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
        if len(rest) > _MAX_LINE_BYTES:
            raise chat_template.corpus_invalid(
                f"{path.name} has a line of more than {_MAX_LINE_BYTES} bytes"
            )
    if rest.strip():
        yield rest


def make_example(input_ids: Sequence[int], label_mask: Sequence[int], ce_last_k: int) -> Example:
    """Return an example; if K > 0, only the last K of its supervised tokens stay supervised."""
    mask = bytearray(label_mask)
    mask[:1] = b"\0"[: len(mask)]  # no token precedes the first one that could predict it
    surplus = sum(mask) - ce_last_k if ce_last_k else 0
    for i in itertools.compress(range(len(mask)), bytes(mask)):
        if surplus <= 0:
            break
        mask[i] = 0
        surplus -= 1
    return Example(array.array("i", input_ids), bytes(mask))


def tokenize(
    rows: Iterable[Mapping[str, Any]],
    encoder: chat_template.ChatEncoder,
    plan: recipe.Recipe,
    *,
    max_rows: int | None = None,
) -> tuple[list[Example], Statistics]:
    """Tokenize rows and count the rows that are dropped.

    Args:
        rows: Rows of a corpus.
        encoder: Chat encoder of the base model's tokenizer.
        plan: Sets the maximum length of a row and which tokens are supervised.
        max_rows: Maximum used rows; None uses all.
    """
    examples: list[Example] = []
    read = too_long = unsupervised = 0
    for row in rows:
        if max_rows is not None and len(examples) == max_rows:
            break
        read += 1
        messages = chat_template.to_messages(row)
        with library_errors.convert(functools.partial(_row_refused, row)):
            example = make_example(*encoder.encode(messages), plan.ce_last_k)
        if not example.supervised_tokens:
            unsupervised += 1
        elif len(example.input_ids) > plan.max_tokens:
            too_long += 1
        else:
            examples.append(example)
    return examples, Statistics(
        rows=read,
        used=len(examples),
        too_long=too_long,
        unsupervised=unsupervised,
        tokens=sum(len(e.input_ids) for e in examples),
        supervised_tokens=sum(e.supervised_tokens for e in examples),
        max_length=max((len(e.input_ids) for e in examples), default=0),
        max_supervised_tokens=max((e.supervised_tokens for e in examples), default=0),
        max_token_id=max((max(e.input_ids) for e in examples), default=-1),
    )


def _row_refused(row: Mapping[str, Any], cause: str) -> errors.InvalidInputError:
    return chat_template.corpus_invalid(
        f"the base model's chat template or tokenizer refuses row {row.get('id', '?')} ({cause}): "
        "change the row's messages, or train a base model whose template accepts them"
    )


def validate(
    split: str, statistics: Statistics, *, vocab_size: int, max_positions: int | None
) -> None:
    """Refuse rows that cannot be trained on; the message contains the fix.

    Args:
        split: `train` or `validation`.
        statistics: Counts over the rows of this split.
        vocab_size: Rows of the model's embedding.
        max_positions: Context length of the model; None if its config does not contain it.
    """
    if not statistics.rows:
        raise _no_rows(split)
    if not statistics.used:
        raise chat_template.corpus_invalid(
            f"none of the {statistics.rows} {split} rows can be used: {statistics.too_long} have "
            f"more tokens than schedule.maxTokens, {statistics.unsupervised} have no answer; raise "
            "maxTokens or fix the sources"
        )
    if statistics.max_token_id >= vocab_size:
        raise errors.InvalidInputError(
            reasons.BASE_MODEL_INVALID,
            f"{split} rows contain token id {statistics.max_token_id}, but the model's vocabulary "
            f"size is {vocab_size}: its tokenizer belongs to another model; import the model with "
            "its own tokenizer",
        )
    if max_positions and statistics.max_length > max_positions:
        raise chat_template.corpus_invalid(
            f"a {split} row has {statistics.max_length} tokens, but the model's context length is "
            f"{max_positions}: set schedule.maxTokens to {max_positions} or less"
        )


def _no_rows(split: str) -> errors.InvalidInputError:
    if split == "train":
        return errors.InvalidInputError(
            reasons.EMPTY_CORPUS,
            "the corpus has no training rows: check the skipped and quarantined rows in its "
            "accounting, and add sources to the MensCorpus or correct them",
        )
    return errors.InvalidInputError(
        reasons.NO_VALIDATION_ROWS,
        "the corpus has no held-out rows, and a run needs them to measure its loss: set "
        'spec.split.validationFraction of the MensCorpus above 0 ("0.1" holds out a tenth)',
    )
