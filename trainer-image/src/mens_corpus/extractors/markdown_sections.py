"""Extract Markdown sections: the prompt asks for the heading, the response is the body.

    prompt    Explain from the documentation: Guide › Storage › Credentials
    response  the Markdown between this heading and the next one

A CommonMark parser finds the headings: a `#` inside a fence is not a heading.
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
from mens_corpus.extractors import decoding, results

SUFFIXES: Final = (".md", ".markdown")
"""File name suffixes of supported documents."""
LABELS: Final = results.RowLabels(rows.Lane.DOCS_QA, "docs_section", "explain_section")
"""Labels of all rows: a question answered from documentation."""
MIN_BODY_LENGTH: Final = 40
"""Minimum characters of a body; a shorter one is a link, a badge, or a "see below"."""

_BREAKS: Final = frozenset({"softbreak", "hardbreak"})
_WORDS: Final = _BREAKS | {"text", "code_inline"}
"""Tokens of a heading: words, and the line breaks between them, which have no content."""
_FRONT_MATTER: Final = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Section:
    headings: tuple[str, ...]
    """Path of headings from the title of the document; empty for text before the first heading."""
    line: int
    """1-based line of the heading."""
    body: str


def extract(data: bytes, *, max_characters: int) -> Iterator[results.Result]:
    """Yield one result per section of the document, in the order of their lines."""
    text = decoding.plain_text(data)
    if isinstance(text, results.Invalid):
        yield text
        return
    try:
        found = list(_sections(_without_front_matter(text)))
    except RecursionError:
        yield results.Invalid("TooDeep", "nested too deeply for the parser")
        return
    for section in found:
        yield _extract_one(section, max_characters)


def _extract_one(section: _Section, max_characters: int) -> results.Result:
    if not section.headings:
        return results.Filtered("NoHeading")
    if not section.body:
        return results.Filtered("EmptySection")
    if len(section.body) < MIN_BODY_LENGTH:
        return results.Filtered("TooShort")
    prompt = f"Explain from the documentation: {' › '.join(section.headings)}"
    if max(len(section.body), len(prompt)) > max_characters:
        return results.Filtered("TooLong")
    metadata: dict[str, str | int] = {"heading": section.headings[-1], "line": section.line}
    return results.Extracted(prompt, section.body, LABELS, metadata)


def _without_front_matter(text: str) -> str:
    """Replace YAML front matter by empty lines, to keep the line numbers."""
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
    """0-based first line of the heading."""
    end: int
    """0-based line after it."""


def _headings(text: str) -> Iterator[_Heading]:
    tokens = markdown_it.MarkdownIt("commonmark").parse(text)
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            yield _Heading(int(opening.tag[1:]), _title(inline), *opening.map)


def _title(inline: token.Token) -> str:
    """Return the text of a heading without its markup."""
    children = inline.children or ()
    # The parser puts an empty text token between adjacent markup; it is not a space.
    parts = (
        " " if item.type in _BREAKS else item.content for item in children if item.type in _WORDS
    )
    return " ".join("".join(parts).split())


def _body(lines: list[str], first: int, end: int) -> str:
    return "\n".join(line.rstrip() for line in lines[first:end]).strip()
