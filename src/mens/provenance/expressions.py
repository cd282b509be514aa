"""SPDX license expressions: `A AND B`, `A OR B`, `A WITH X`, parentheses.

Law: `parse(str(e)) == e` for every expression that `parse` returned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

NOASSERTION: Final = "NOASSERTION"
"""SPDX's word for: nothing is said about the license. It blocks."""
LIMIT: Final = 1024
"""Characters of an expression; also what a resource's status can hold."""

_TOKEN: Final = re.compile(r"\s*([()]|[A-Za-z0-9][A-Za-z0-9.+:-]*)\s*")
_PARENTHESES: Final = frozenset({"(", ")"})
_OPERATORS: Final = frozenset({"AND", "OR", "WITH"})


@dataclass(frozen=True, slots=True)
class Id:
    """One license, with its exception if it has one."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class And:
    """All of these apply together."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " AND ".join(f"({p})" if isinstance(p, Or) else str(p) for p in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """The user of the work chooses one of these."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " OR ".join(str(p) for p in self.parts)


Expression = Id | And | Or


def parse(text: str) -> Expression:
    """Parse an expression. ValueError names what is wrong with it."""
    if len(text) > LIMIT:
        raise ValueError(f"a license expression has at most {LIMIT} characters")
    reader = _Reader(tuple(_tokens(text)), text)
    found = reader.alternatives(0)
    if reader.peek() is not None:
        raise ValueError(f"{text!r} is not a license expression: unexpected {reader.peek()!r}")
    return found


def ids(expression: Expression) -> frozenset[str]:
    """All licenses that an expression names."""
    if isinstance(expression, Id):
        return frozenset({expression.name})
    return frozenset().union(*(ids(part) for part in expression.parts))


def conjunction(texts: Iterator[str] | tuple[str, ...]) -> str:
    """`AND` over expressions: parts sorted, each once; NOASSERTION if one is that.

    Laws: order and repetition do not matter, and the result of one is that one, put into order.
    """
    parts: set[str] = set()
    for text in texts:
        if NOASSERTION in ids(parsed := parse(text)):
            return NOASSERTION
        parts.update(map(str, parsed.parts if isinstance(parsed, And) else (parsed,)))
    joined = And(tuple(parse(part) for part in sorted(parts)))
    text = str(joined.parts[0] if len(joined.parts) == 1 else joined)
    return text if len(text) <= LIMIT else NOASSERTION


class _Reader:
    """Recursive descent: OR binds weakest, then AND, then WITH."""

    def __init__(self, tokens: tuple[str, ...], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._at = 0

    def peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def alternatives(self, depth: int) -> Expression:
        parts = [self._together(depth)]
        while self._accept("OR"):
            parts.append(self._together(depth))
        return parts[0] if len(parts) == 1 else Or(_flat(parts, Or))

    def _together(self, depth: int) -> Expression:
        parts = [self._one(depth)]
        while self._accept("AND"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else And(_flat(parts, And))

    def _one(self, depth: int) -> Expression:
        if self._accept("("):
            if depth > 20:
                raise ValueError("a license expression has at most 20 levels of parentheses")
            inner = self.alternatives(depth + 1)
            if not self._accept(")"):
                raise ValueError(f"{self._text!r} is not a license expression: ')' is missing")
            return inner
        name = self._name()
        return Id(f"{name} WITH {self._name()}") if self._accept("WITH") else Id(name)

    def _name(self) -> str:
        token = self.peek()
        if token is None or token in _OPERATORS or token in _PARENTHESES:
            raise ValueError(f"{self._text!r} is not a license expression: a license is missing")
        self._at += 1
        return token

    def _accept(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self._at += 1
        return True


def _flat(parts: list[Expression], kind: type[And] | type[Or]) -> tuple[Expression, ...]:
    flat: list[Expression] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, kind) else (part,))
    return tuple(flat)


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        if not (found := _TOKEN.match(text, at)):
            raise ValueError(f"{text!r} is not a license expression: {text[at : at + 1]!r} in it")
        yield found[1]
        at = found.end()
