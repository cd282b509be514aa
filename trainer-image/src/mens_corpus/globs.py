"""Glob patterns for paths: `*` and `?` match within a folder, `**` matches across folders.

A pattern must match the whole path from the root of the source. `docs/**` matches everything below
docs; `**/*.py` matches every Python file, including those at the root.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence


@functools.lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Translate a pattern to a regular expression; an unclosed `[` is literal."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        part, position = _translate(pattern, position)
        out.append(part)
    return re.compile("".join(out), re.DOTALL)


def _translate(pattern: str, position: int) -> tuple[str, int]:
    if pattern.startswith("**/", position) and (position == 0 or pattern[position - 1] == "/"):
        return "(?:[^/]+/)*", position + 3
    if pattern.startswith("**", position):
        return ".*", position + 2
    char = pattern[position]
    if char == "*":
        return "[^/]*", position + 1
    if char == "?":
        return "[^/]", position + 1
    if char == "[" and (end := pattern.find("]", position + 2)) > 0:
        negated = pattern[position + 1] in "!^"
        inner = pattern[position + 1 + negated : end]
        if inner:
            escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner)
            return f"(?!/)[{'^' if negated else ''}{escaped}]", end + 1
    return re.escape(char), position + 1


def matches(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Return whether a path is included and not excluded; an empty `include` includes all paths."""
    if include and not any(compile_pattern(pattern).fullmatch(path) for pattern in include):
        return False
    return not any(compile_pattern(pattern).fullmatch(path) for pattern in exclude)
