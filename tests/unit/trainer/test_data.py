"""Rows to tokens: what is supervised, what is left out, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mens.api import reasons
from mens_trainer import chat, data, errors, recipe
from tests.support import models
from tests.unit.trainer import rows as corpora

THINKING = models.CHAT_TEMPLATE.replace(
    "{{ message['content'] }}",
    "{% if message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'] }}",
)
"""A template that puts an empty block of thoughts before every answer."""

FORGETFUL = models.CHAT_TEMPLATE.replace(
    "{{ message['content'] }}",
    "{% if message['role'] == 'assistant' and not loop.last %}(short)"
    "{% else %}{{ message['content'] }}{% endif %}",
)
"""A template that rewrites earlier answers."""


@pytest.fixture(scope="module")
def encoder() -> chat.Encoder:
    """One token a byte."""
    return chat.Encoder(models.tokenizer())


def _supervised(row: dict[str, Any], tokenizer: Any = None, **plan: Any) -> str:
    tokenizer = tokenizer or models.tokenizer()
    (found,), _ = data.tokenize([row], chat.Encoder(tokenizer), recipe.Recipe(**plan))
    ids = [t for t, s in zip(found.tokens, found.supervised, strict=True) if s]
    return str(tokenizer.decode(ids))


def test_only_the_answer_and_its_end_are_supervised() -> None:
    """The prompt, the roles and what follows the end of turn are not."""
    row = {"prompt": "Name it: add", "response": '{"name": "add"}'}
    assert _supervised(row) == '{"name": "add"}<|im_end|>'


def test_the_prompt_is_what_the_server_will_send(encoder: chat.Encoder) -> None:
    """The unsupervised head of a row is the rendered prompt, token for token."""
    row = {"prompt": "Name it: add", "response": "add"}
    (found,), _ = data.tokenize([row], encoder, recipe.Recipe())
    turns = [{"role": "user", "content": "Name it: add"}]
    tokenizer = models.tokenizer()
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
    assert list(found.tokens[: len(ids)]) == ids
    assert not any(found.supervised[: len(ids)])
    assert all(found.supervised[len(ids) :])


def test_the_last_tokens_alone() -> None:
    """`ceLastK` keeps the last K supervised tokens, the end of turn among them."""
    row = {"prompt": "p", "response": "abcdef"}
    assert _supervised(row, ce_last_k=3) == "ef<|im_end|>"
    assert _supervised(row, ce_last_k=99) == "abcdef<|im_end|>"


def test_an_inserted_thought_is_not_supervised() -> None:
    """What a template puts before the answer belongs to the prompt."""
    row = {"prompt": "p", "response": "answer"}
    assert _supervised(row, models.tokenizer(THINKING)) == "answer<|im_end|>"


CHAT = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "second"},
]


def test_every_answer_of_a_conversation_is_supervised() -> None:
    """Both answers, neither question."""
    assert _supervised({"messages": CHAT}) == "first<|im_end|>second<|im_end|>"


def test_a_rewritten_answer_is_not_supervised() -> None:
    """Where a template changes earlier answers, only the last one counts."""
    assert _supervised({"turns": CHAT}, models.tokenizer(FORGETFUL)) == "second<|im_end|>"


def test_upstreams_spellings() -> None:
    """instruction and output are prompt and response."""
    assert _supervised({"instruction": "p", "output": "o"}) == "o<|im_end|>"


def test_every_row_is_accounted_for(encoder: chat.Encoder) -> None:
    """Too long, without answer, used: together all rows."""
    given = [
        *corpora.rows(5),
        {"prompt": "p" * 300, "response": "r"},
        {"prompt": "p", "response": ""},
    ]
    examples, facts = data.tokenize(given, encoder, recipe.Recipe(max_tokens=200))
    assert (facts.rows, facts.used, facts.too_long, facts.unsupervised) == (7, 5, 1, 1)
    assert facts.targets == sum(e.targets for e in examples)
    assert 0 < facts.supervised_share < 1
    assert facts.longest == max(len(e.tokens) for e in examples)
    assert facts.most_targets == max(e.targets for e in examples)
    assert {(e.tokens.itemsize, type(e.supervised)) for e in examples} == {(4, bytes)}


def test_rows_are_read_across_chunks(tmp_path: Path) -> None:
    """A file larger than one chunk gives all rows, in order."""
    given = [{"id": str(i), "prompt": "x" * 5000, "response": "r"} for i in range(500)]
    corpora.write(tmp_path / "rows", given)
    assert list(data.rows(tmp_path / "rows")) == given


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not zstd", "Zstandard"), (b"", None)],
)
def test_a_file_that_is_no_corpus(tmp_path: Path, content: bytes, words: str | None) -> None:
    """Refused as CorpusInvalid; an empty file has no rows."""
    (tmp_path / "rows").write_bytes(content)
    if words is None:
        assert list(data.rows(tmp_path / "rows")) == []
        return
    with pytest.raises(errors.InputWrong, match=words) as caught:
        list(data.rows(tmp_path / "rows"))
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
def test_a_row_without_conversation_is_refused(row: dict[str, Any], encoder: chat.Encoder) -> None:
    """With its reason, and never as a crash."""
    with pytest.raises(errors.InputWrong) as caught:
        data.tokenize([row], encoder, recipe.Recipe())
    assert caught.value.reason == reasons.CORPUS_INVALID


def _facts(**changes: int) -> data.Facts:
    good = {
        "rows": 9, "used": 9, "too_long": 0, "unsupervised": 0, "tokens": 90, "targets": 9,
        "longest": 10, "most_targets": 1, "max_token": 99,
    }  # fmt: skip
    return data.Facts(**(good | changes))


@pytest.mark.parametrize(
    ("name", "facts", "reason"),
    [
        ("train", _facts(rows=0, used=0), reasons.EMPTY_CORPUS),
        ("validation", _facts(rows=0, used=0), reasons.NO_VALIDATION_ROWS),
        ("train", _facts(used=0, too_long=9), reasons.CORPUS_INVALID),
        ("train", _facts(max_token=100), reasons.BASE_MODEL_INVALID),
        ("train", _facts(longest=65), reasons.CORPUS_INVALID),
    ],
)
def test_what_cannot_be_trained_on(name: str, facts: data.Facts, reason: str) -> None:
    """Nothing to learn from, ids the model does not know, rows longer than its context."""
    data.check(name, _facts(), vocabulary=100, context=64)
    with pytest.raises(errors.InputWrong) as caught:
        data.check(name, facts, vocabulary=100, context=64)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "words"),
    [("train", "accounting"), ("validation", r"spec\.split\.validationFraction of the MensCorpus")],
)
def test_a_corpus_without_rows_says_what_to_set(name: str, words: str) -> None:
    """The field of the resource that would bring some."""
    with pytest.raises(errors.InputWrong, match=words):
        data.check(name, _facts(rows=0, used=0), vocabulary=100, context=64)


def test_a_corpus_without_its_file_is_refused(tmp_path: Path) -> None:
    """By the file's name, and not as a defect of ours."""
    with pytest.raises(errors.InputWrong, match=r"no train\.jsonl\.zst") as caught:
        list(data.rows(tmp_path / data.TRAIN))
    assert caught.value.reason == reasons.CORPUS_INVALID
