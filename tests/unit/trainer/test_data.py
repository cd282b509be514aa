"""Tokenizing rows: which tokens are supervised, which rows are dropped, which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mens.api import reasons
from mens.runtime import errors
from mens_trainer import chat_template, data, recipe
from tests.support import models
from tests.unit.trainer import rows as corpora

THINKING = models.CHAT_TEMPLATE.replace(
    "{{ message['content'] }}",
    "{% if message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'] }}",
)
"""A template that adds an empty `<think>` block before every answer."""

REWRITING = models.CHAT_TEMPLATE.replace(
    "{{ message['content'] }}",
    "{% if message['role'] == 'assistant' and not loop.last %}(short)"
    "{% else %}{{ message['content'] }}{% endif %}",
)
"""A template that rewrites all answers but the last."""


@pytest.fixture(scope="module")
def encoder() -> chat_template.ChatEncoder:
    """An encoder with one token per byte."""
    return chat_template.ChatEncoder(models.tokenizer())


def _supervised(row: dict[str, Any], tokenizer: Any = None, **changes: Any) -> str:
    tokenizer = tokenizer or models.tokenizer()
    (example,), _ = data.tokenize(
        [row], chat_template.ChatEncoder(tokenizer), recipe.Recipe(**changes)
    )
    ids = [t for t, s in zip(example.input_ids, example.label_mask, strict=True) if s]
    return str(tokenizer.decode(ids))


def test_only_the_answer_and_its_end_of_turn_are_supervised() -> None:
    """The prompt, the roles and the text after the end of turn are not."""
    row = {"prompt": "Name it: add", "response": '{"name": "add"}'}
    assert _supervised(row) == '{"name": "add"}<|im_end|>'


def test_the_prompt_equals_the_prompt_at_inference(encoder: chat_template.ChatEncoder) -> None:
    """The unsupervised tokens of a row are those of the rendered prompt."""
    row = {"prompt": "Name it: add", "response": "add"}
    (example,), _ = data.tokenize([row], encoder, recipe.Recipe())
    messages = [{"role": "user", "content": "Name it: add"}]
    tokenizer = models.tokenizer()
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert list(example.input_ids[: len(ids)]) == ids
    assert not any(example.label_mask[: len(ids)])
    assert all(example.label_mask[len(ids) :])


def test_ce_last_k_limits_the_supervised_tokens() -> None:
    """Only the last K stay supervised, including the end of turn."""
    row = {"prompt": "p", "response": "abcdef"}
    assert _supervised(row, ce_last_k=3) == "ef<|im_end|>"
    assert _supervised(row, ce_last_k=99) == "abcdef<|im_end|>"


def test_an_inserted_think_block_is_not_supervised() -> None:
    """Text that a template adds before the answer belongs to the prompt."""
    row = {"prompt": "p", "response": "answer"}
    assert _supervised(row, models.tokenizer(THINKING)) == "answer<|im_end|>"


CHAT = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "second"},
]


def test_every_answer_of_a_conversation_is_supervised() -> None:
    """Questions are not."""
    assert _supervised({"messages": CHAT}) == "first<|im_end|>second<|im_end|>"


def test_a_rewritten_answer_is_not_supervised() -> None:
    """If a template changes earlier answers, only the last one is supervised."""
    assert _supervised({"turns": CHAT}, models.tokenizer(REWRITING)) == "second<|im_end|>"


def test_instruction_and_output_are_accepted() -> None:
    """The upstream names of prompt and response."""
    assert _supervised({"instruction": "p", "output": "o"}) == "o<|im_end|>"


def test_every_row_is_counted(encoder: chat_template.ChatEncoder) -> None:
    """As used, too long or unsupervised."""
    given = [
        *corpora.rows(5),
        {"prompt": "p" * 300, "response": "r"},
        {"prompt": "p", "response": ""},
    ]
    examples, statistics = data.tokenize(given, encoder, recipe.Recipe(max_tokens=200))
    assert (statistics.rows, statistics.used) == (7, 5)
    assert (statistics.too_long, statistics.unsupervised) == (1, 1)
    assert statistics.supervised_tokens == sum(e.supervised_tokens for e in examples)
    assert 0 < statistics.supervised_share < 1
    assert statistics.max_length == max(len(e.input_ids) for e in examples)
    assert statistics.max_supervised_tokens == max(e.supervised_tokens for e in examples)
    assert {(e.input_ids.itemsize, type(e.label_mask)) for e in examples} == {(4, bytes)}


def test_rows_are_read_across_chunks(tmp_path: Path) -> None:
    """A file larger than a chunk yields all rows in order."""
    given = [{"id": str(i), "prompt": "x" * 5000, "response": "r"} for i in range(500)]
    corpora.write(tmp_path / "rows", given)
    assert list(data.read_rows(tmp_path / "rows")) == given


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    """It is not an error of the file."""
    (tmp_path / "rows").touch()
    assert list(data.read_rows(tmp_path / "rows")) == []


def test_a_file_that_is_not_zstandard_is_refused(tmp_path: Path) -> None:
    """As CorpusInvalid."""
    (tmp_path / "rows").write_bytes(b"not zstd")
    with pytest.raises(errors.InvalidInputError, match="Zstandard") as caught:
        list(data.read_rows(tmp_path / "rows"))
    assert caught.value.reason == reasons.CORPUS_INVALID


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"prompt": "p"},
        {"prompt": 1, "response": "r"},
        {"messages": ["hello"]},
        {"messages": []},
    ],
)
def test_a_row_without_messages_is_refused(
    row: dict[str, Any], encoder: chat_template.ChatEncoder
) -> None:
    """As CorpusInvalid."""
    with pytest.raises(errors.InvalidInputError) as caught:
        data.tokenize([row], encoder, recipe.Recipe())
    assert caught.value.reason == reasons.CORPUS_INVALID


def _statistics(**changes: int) -> data.Statistics:
    valid = {
        "rows": 9, "used": 9, "too_long": 0, "unsupervised": 0, "tokens": 90,
        "supervised_tokens": 9, "max_length": 10, "max_supervised_tokens": 1, "max_token_id": 99,
    }  # fmt: skip
    return data.Statistics(**(valid | changes))


@pytest.mark.parametrize(
    ("split", "statistics", "reason"),
    [
        ("train", _statistics(rows=0, used=0), reasons.EMPTY_CORPUS),
        ("validation", _statistics(rows=0, used=0), reasons.NO_VALIDATION_ROWS),
        ("train", _statistics(used=0, too_long=9), reasons.CORPUS_INVALID),
        ("train", _statistics(max_token_id=100), reasons.BASE_MODEL_INVALID),
        ("train", _statistics(max_length=65), reasons.CORPUS_INVALID),
    ],
)
def test_unusable_rows_are_refused(split: str, statistics: data.Statistics, reason: str) -> None:
    """No usable rows, token ids beyond the vocabulary, rows longer than the context."""
    data.validate(split, _statistics(), vocab_size=100, max_positions=64)
    with pytest.raises(errors.InvalidInputError) as caught:
        data.validate(split, statistics, vocab_size=100, max_positions=64)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("split", "message"),
    [("train", "accounting"), ("validation", r"spec\.split\.validationFraction of the MensCorpus")],
)
def test_the_error_for_an_empty_split_names_the_fix(split: str, message: str) -> None:
    """The field of the resource to change."""
    with pytest.raises(errors.InvalidInputError, match=message):
        data.validate(split, _statistics(rows=0, used=0), vocab_size=100, max_positions=64)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """As CorpusInvalid, with the file's name."""
    with pytest.raises(errors.InvalidInputError, match=r"no train\.jsonl\.zst") as caught:
        list(data.read_rows(tmp_path / data.TRAIN))
    assert caught.value.reason == reasons.CORPUS_INVALID
