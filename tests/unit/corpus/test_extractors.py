"""Extractors against golden files; `pytest --update-expected` rewrites them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens.api import corpus
from mens_corpus.extractors import python_functions, registry, results
from tests.support import goldens

DATA = Path(__file__).parents[2] / "data" / "corpus"
DOCUMENTS = sorted([*DATA.glob("*/*.py.txt"), *DATA.glob("*/*.md.txt")])
"""Named .txt, because some are invalid on purpose and other tools must not read them."""
LIMIT = 320


def lines(path: Path) -> list[str]:
    """The results of all extractors for a document, one JSON object per line."""
    found = registry.extract(
        path.stem, path.read_bytes(), tuple(corpus.Extractor), max_characters=LIMIT
    )
    return [json.dumps(to_object(result), ensure_ascii=False) for result in found]


def to_object(result: results.Result) -> dict[str, object]:
    if isinstance(result, results.Extracted):
        return {
            "prompt": result.prompt,
            "response": result.response,
            "lane": result.labels.lane.value,
            "category": result.labels.category,
            **result.metadata,
        }
    if isinstance(result, results.Filtered):
        return {"filtered": result.reason}
    return {"broken": result.reason, "message": result.message, "line": result.line}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_document_gives_the_expected_results(path: Path, golden: goldens.Golden) -> None:
    """Each document gives exactly the results in its golden file, in order."""
    expected = path.with_name(path.stem + ".expected.jsonl")
    found = "".join(line + "\n" for line in lines(path))
    golden.check(expected, found)


def test_prompt_respects_max_characters() -> None:
    """The limit applies to the whole prompt, including the fence."""
    results_ = [json.loads(line) for path in DOCUMENTS for line in lines(path)]
    lengths = [len(extracted["prompt"]) for extracted in results_ if "prompt" in extracted]
    assert 0 < max(lengths) <= LIMIT


@given(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8), st.data())
def test_parameters_are_in_the_order_of_the_signature(
    names: list[str], data: st.DataObject
) -> None:
    """For all kinds: positional only, positional or keyword, variadic, keyword only."""
    cuts = sorted(data.draw(st.integers(0, len(names))) for _ in range(2))
    first, second, third = names[: cuts[0]], names[cuts[0] : cuts[1]], names[cuts[1] :]
    parts = [*first, *(["/"] if first else []), *second, *(["*rest", *third] if third else [])]
    expected = [*first, *second, *(["rest", *third] if third else [])]
    source = f'def f({", ".join(parts)}):\n    """Do it."""\n    return 1\n'
    (extracted,) = python_functions.extract(source.encode(), max_characters=500)
    assert isinstance(extracted, results.Extracted)
    assert json.loads(extracted.response) == {"name": "f", "params": expected, "summary": "Do it."}


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_extractors_accept_any_bytes(data: bytes) -> None:
    """Any bytes give results, never an exception."""
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
def test_code_nested_too_deeply_is_invalid(source: str) -> None:
    """It gives one invalid result or none, and does not crash."""
    found = list(python_functions.extract(source.encode(), max_characters=500))
    assert all(isinstance(result, results.Invalid) for result in found)


def test_deeply_quoted_markdown_is_parsed() -> None:
    """The parser limits the depth of nested quotes."""
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
def test_summary_is_the_first_sentence(docstring: str, summary: str) -> None:
    """Abbreviations and numbers do not end a sentence; without a period, it is the first line."""
    assert python_functions.summarize(docstring) == summary
