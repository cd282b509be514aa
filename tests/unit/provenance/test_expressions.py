"""Facts about SPDX expressions."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens.provenance import expressions

IDS = st.sampled_from(["MIT", "Apache-2.0", "LicenseRef-X", "GPL-2.0-only WITH Y", "CC0-1.0"])
TEXTS = st.recursive(
    IDS,
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
        lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
    ),
    max_leaves=6,
)


@given(TEXTS)
def test_round_trip(text: str) -> None:
    """What is written is read as the same expression."""
    parsed = expressions.parse(text)
    assert expressions.parse(str(parsed)) == parsed


@given(st.text(max_size=40))
def test_nothing_else_happens(text: str) -> None:
    """Any text is an expression or a ValueError, never another error."""
    with contextlib.suppress(ValueError):
        expressions.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "AND", "MIT AND", "MIT Apache-2.0", "(MIT", "MIT)", "MIT OR OR X", "(" * 50 + "MIT"],
)
def test_refused(text: str) -> None:
    """An expression that is not well-formed says so."""
    with pytest.raises(ValueError, match="license expression"):
        expressions.parse(text)


def test_precedence() -> None:
    """AND binds more strongly than OR."""
    assert expressions.parse("A OR B AND C") == expressions.parse("A OR (B AND C)")
    assert str(expressions.parse("(A OR B) AND C")) == "(A OR B) AND C"


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_conjunction(texts: list[str]) -> None:
    """Order, repetition and steps do not matter."""
    joined = expressions.conjunction(tuple(texts))
    assert expressions.conjunction(tuple(reversed(texts))) == joined
    assert expressions.conjunction((*texts, *texts)) == joined
    assert expressions.conjunction((expressions.conjunction(tuple(texts[:1])), *texts)) == joined


def test_nothing_asserted() -> None:
    """One unknown part makes the whole unknown."""
    assert expressions.conjunction(("MIT", "NOASSERTION")) == "NOASSERTION"
