"""SPDX headers: the license identifiers in the comments at the top of a document.

Only comments count. The same line in a string, a docstring or a fenced block is an example.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from typing import Final

import markdown_it

from mens.provenance import expressions
from mens_corpus.extractors import decoding, markdown_sections, results

WINDOW: Final = 4096
"""A header begins within these first bytes; a later one is an example in documentation."""

_PREFIX: Final = b"SPDX-License-Identifier:"
_HEADER: Final = re.compile(r"^[^\w\n]{0,8}SPDX-License-Identifier:(.*)$", re.MULTILINE)
_HTML_COMMENT: Final = re.compile(r"<!--(.*?)(?:-->|\Z)", re.DOTALL)
_HTML: Final = frozenset({"html_block", "html_inline"})


def parse(path: str, data: bytes) -> str | None:
    """Return the SPDX expression of a document's headers, joined by AND; None without a header.

    A header extends to the end of its line. A line that is not entirely an expression gives
    NOASSERTION, which blocks the rows: `MIT, GPL-3.0-only` is not MIT.
    """
    if _PREFIX not in data[: WINDOW + len(_PREFIX)]:
        return None
    end = data.find(b"\n", WINDOW)
    top = data if end < 0 else data[: end + 1]
    markdown = path.lower().endswith(markdown_sections.SUFFIXES)
    try:
        comments = list(_markdown_comments(top) if markdown else _python_comments(top))
        headers = [line.strip(" \t#") for text in comments for line in _HEADER.findall(text)]
        return expressions.conjunction(tuple(headers)) if headers else None
    except (ValueError, RecursionError):
        return expressions.NOASSERTION


def _python_comments(top: bytes) -> Iterator[str]:
    text = decoding.python_text(top)
    if isinstance(text, results.Invalid):
        return  # Such a document has no rows.
    try:
        for item in tokenize.generate_tokens(io.StringIO(text).readline):
            if item.type == tokenize.COMMENT:
                yield item.string
    except (tokenize.TokenError, SyntaxError):
        return  # The window may end within a string or parentheses.


def _markdown_comments(top: bytes) -> Iterator[str]:
    text = decoding.plain_text(top)
    if isinstance(text, results.Invalid):
        return  # Such a document has no rows.
    for item in markdown_it.MarkdownIt("commonmark").parse(text):
        for part in (item, *(item.children or ())):
            if part.type in _HTML:
                yield from _HTML_COMMENT.findall(part.content)
