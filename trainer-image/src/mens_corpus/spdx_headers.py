"""What a document says about its own license: the SPDX headers in the comments at its top.

Only comments count: the same line in a string, a docstring or a fenced block is an example.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from typing import Final

import markdown_it

from mens.provenance import expressions
from mens_corpus.extractors import decoding, markdown_sections, outcomes

WINDOW: Final = 4096
"""Bytes in which a header's line begins; further down it is an example in documentation."""

_MARK: Final = b"SPDX-License-Identifier:"
_HEADER: Final = re.compile(r"^[^\w\n]{0,8}SPDX-License-Identifier:(.*)$", re.MULTILINE)
_HTML_COMMENT: Final = re.compile(r"<!--(.*?)(?:-->|\Z)", re.DOTALL)
_HTML: Final = frozenset({"html_block", "html_inline"})


def declared(path: str, data: bytes) -> str | None:
    """Return the SPDX expression of a document's headers, joined by AND; None without a header.

    A header is read to the end of its line. What is not wholly an expression is NOASSERTION,
    which blocks: `MIT, GPL-3.0-only` is not MIT.
    """
    if _MARK not in data[: WINDOW + len(_MARK)]:
        return None
    end = data.find(b"\n", WINDOW)
    top = data if end < 0 else data[: end + 1]
    markdown = path.lower().endswith(markdown_sections.SUFFIXES)
    try:
        comments = list(_in_markdown(top) if markdown else _in_python(top))
        said = [line.strip(" \t#") for text in comments for line in _HEADER.findall(text)]
        return expressions.conjunction(tuple(said)) if said else None
    except (ValueError, RecursionError):
        return expressions.NOASSERTION


def _in_python(top: bytes) -> Iterator[str]:
    text = decoding.python_text(top)
    if isinstance(text, outcomes.Broken):
        return  # Such a document gives no row either.
    try:
        for item in tokenize.generate_tokens(io.StringIO(text).readline):
            if item.type == tokenize.COMMENT:
                yield item.string
    except (tokenize.TokenError, SyntaxError):
        return  # The window may end within a string or a parenthesis.


def _in_markdown(top: bytes) -> Iterator[str]:
    text = decoding.plain_text(top)
    if isinstance(text, outcomes.Broken):
        return  # Such a document gives no row either.
    for item in markdown_it.MarkdownIt("commonmark").parse(text):
        for part in (item, *(item.children or ())):
            if part.type in _HTML:
                yield from _HTML_COMMENT.findall(part.content)
