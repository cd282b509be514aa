"""Documents become the rows that stand beside them; `pytest --update-expected` rewrites them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens.api import corpus
from mens_corpus.extractors import outcomes, python_functions, registry
from tests.support import goldens

DATA = Path(__file__).parents[2] / "data" / "corpus"
DOCUMENTS = sorted([*DATA.glob("*/*.py.txt"), *DATA.glob("*/*.md.txt")])
"""Named .txt, since some of them are broken on purpose and no tool shall read them."""
LIMIT = 320


def lines(path: Path) -> list[str]:
    """What the extractors say about a document, one JSON object a line."""
    found = registry.extract(
        path.stem, path.read_bytes(), tuple(corpus.Extractor), max_characters=LIMIT
    )
    return [json.dumps(said(outcome), ensure_ascii=False) for outcome in found]


def said(outcome: outcomes.Outcome) -> dict[str, object]:
    if isinstance(outcome, outcomes.Draft):
        return {
            "prompt": outcome.prompt,
            "response": outcome.response,
            "lane": outcome.shape.lane.value,
            "category": outcome.shape.category,
            **outcome.metadata,
        }
    if isinstance(outcome, outcomes.Filtered):
        return {"filtered": outcome.reason}
    return {"broken": outcome.reason, "message": outcome.message, "line": outcome.line}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_becomes_the_expected_rows(path: Path, golden: goldens.Golden) -> None:
    """Each document gives exactly the outcomes in the file beside it, in their order."""
    expected = path.with_name(path.stem + ".expected.jsonl")
    found = "".join(line + "\n" for line in lines(path))
    golden.check(expected, found)


def test_a_prompt_is_never_longer_than_its_limit() -> None:
    """The limit counts the whole question, fence and sentence included."""
    drafts = [json.loads(line) for path in DOCUMENTS for line in lines(path)]
    lengths = [len(draft["prompt"]) for draft in drafts if "prompt" in draft]
    assert 0 < max(lengths) <= LIMIT


@given(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8), st.data())
def test_parameters_come_in_the_order_of_the_signature(
    names: list[str], data: st.DataObject
) -> None:
    """Whatever kinds they are of: positional only, plain, starred, keyword only."""
    cuts = sorted(data.draw(st.integers(0, len(names))) for _ in range(2))
    first, second, third = names[: cuts[0]], names[cuts[0] : cuts[1]], names[cuts[1] :]
    parts = [*first, *(["/"] if first else []), *second, *(["*rest", *third] if third else [])]
    expected = [*first, *second, *(["rest", *third] if third else [])]
    source = f'def f({", ".join(parts)}):\n    """Do it."""\n    return 1\n'
    (draft,) = python_functions.extract(source.encode(), max_characters=500)
    assert isinstance(draft, outcomes.Draft)
    assert json.loads(draft.response) == {"name": "f", "params": expected, "summary": "Do it."}


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_document_breaks_an_extractor(data: bytes) -> None:
    """Any bytes become outcomes, never an exception."""
    for name in ("a.py", "a.md"):
        list(registry.extract(name, data, tuple(corpus.Extractor), max_characters=100))


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "(" * 5000 + ")" * 5000,
        "x = " + "-" * 100_000 + "1",
        "".join(" " * depth + "if 1:\n" for depth in range(300)),
        "x = " + " + ".join(["1"] * 50_000),
        "a" + ".a" * 50_000,
    ],
    ids=["parentheses", "minus", "indentation", "sum", "attributes"],
)
def test_what_the_parser_cannot_follow_is_quarantined(source: str) -> None:
    """Depth ends as one broken document or as nothing, not as a crash."""
    found = list(python_functions.extract(source.encode(), max_characters=500))
    assert all(isinstance(outcome, outcomes.Broken) for outcome in found)


def test_deeply_quoted_markdown_ends() -> None:
    """Nested quotes are bounded by the parser's own limit."""
    data = (">" * 50_000 + " # x\n").encode()
    assert list(registry.extract("a.md", data, tuple(corpus.Extractor), max_characters=100))


@pytest.mark.parametrize(
    ("docstring", "summary"),
    [
        ("Guess the type. Then more.", "Guess the type."),
        ("Guess the type, e.g. of a file. More.", "Guess the type, e.g. of a file."),
        ("Guess\n    over two lines. More.", "Guess over two lines."),
        ("Guess without an end\nand a second line", "Guess without an end"),
        ("Really? Yes.", "Really?"),
        ("Version 3.11 is used.", "Version 3.11 is used."),
        ("guess(type) -> str\n\nGuess it.", "Guess it."),
        ("By J. Doe and others.", "By J. Doe and others."),
        ("", ""),
    ],
)
def test_a_summary_is_the_first_sentence(docstring: str, summary: str) -> None:
    """Abbreviations and numbers end no sentence; without an end the first line counts."""
    assert python_functions.summarized(docstring) == summary
