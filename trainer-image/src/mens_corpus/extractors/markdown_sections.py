"""Markdown sections become rows: the heading asks, the body answers.

    prompt    Explain from the documentation: Guide › Storage › Credentials
    response  the Markdown between this heading and the next one

Headings are found by a CommonMark parser, so that a `#` inside a fence is none.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import markdown_it
from markdown_it import token

from mens_corpus import rows
from mens_corpus.extractors import decoding, outcomes

SUFFIXES: Final = (".md", ".markdown")
"""Documents this extractor understands."""
SHAPE: Final = outcomes.Shape(rows.Lane.DOCS_QA, "docs_section", "explain_section")
"""A question answered from documentation."""
SHORTEST_BODY: Final = 40
"""Characters below which a body answers nothing: a link, a badge, a "see below"."""

_BREAKS: Final = frozenset({"softbreak", "hardbreak"})
_WORDS: Final = _BREAKS | {"text", "code_inline"}
"""Tokens of a heading that are words, and the line breaks between them, which have no content."""
_FRONT_MATTER: Final = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Section:
    headings: tuple[str, ...]
    """From the document's title down; empty for text before the first heading."""
    line: int
    """1-based line of the heading."""
    body: str


def extract(data: bytes, *, max_characters: int) -> Iterator[outcomes.Outcome]:
    """Yield one outcome per section of the document, in the order of their lines."""
    text = decoding.plain_text(data)
    if isinstance(text, outcomes.Broken):
        yield text
        return
    try:
        found = list(_sections(_without_front_matter(text)))
    except RecursionError:
        yield outcomes.Broken("TooDeep", "nested deeper than the parser can follow")
        return
    for section in found:
        yield _outcome(section, max_characters)


def _outcome(section: _Section, max_characters: int) -> outcomes.Outcome:
    if not section.headings:
        return outcomes.Filtered("NoHeading")
    if not section.body:
        return outcomes.Filtered("EmptySection")
    if len(section.body) < SHORTEST_BODY:
        return outcomes.Filtered("TooShort")
    prompt = f"Explain from the documentation: {' › '.join(section.headings)}"
    if max(len(section.body), len(prompt)) > max_characters:
        return outcomes.Filtered("TooLong")
    metadata: dict[str, str | int] = {"heading": section.headings[-1], "line": section.line}
    return outcomes.Draft(prompt, section.body, SHAPE, metadata)


def _without_front_matter(text: str) -> str:
    """Blank out YAML front matter, keeping the line numbers of what follows."""
    match = _FRONT_MATTER.match(text)
    return "\n" * match.group().count("\n") + text[match.end() :] if match else text


def _sections(text: str) -> Iterator[_Section]:
    lines = text.split("\n")
    headings = [*_headings(text), _Heading(0, "", len(lines), len(lines))]
    preamble = _body(lines, 0, headings[0].first)
    if preamble:
        yield _Section((), 1, preamble)
    path: list[_Heading] = []
    for heading, following in itertools.pairwise(headings):
        path = [item for item in path if item.level < heading.level] + [heading]
        titles = tuple(item.title for item in path if item.title)
        yield _Section(titles, heading.first + 1, _body(lines, heading.end, following.first))


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    title: str
    first: int
    """0-based line where the heading begins."""
    end: int
    """0-based line after it."""


def _headings(text: str) -> Iterator[_Heading]:
    tokens = markdown_it.MarkdownIt("commonmark").parse(text)
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            yield _Heading(int(opening.tag[1:]), _title(inline), *opening.map)


def _title(inline: token.Token) -> str:
    """Return the words of a heading without their markup."""
    children = inline.children or ()
    # Between two marks that touch there is an empty text, which is no space.
    parts = (
        " " if item.type in _BREAKS else item.content for item in children if item.type in _WORDS
    )
    return " ".join("".join(parts).split())


def _body(lines: list[str], first: int, end: int) -> str:
    return "\n".join(line.rstrip() for line in lines[first:end]).strip()
