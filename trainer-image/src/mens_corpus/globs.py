"""Path patterns of a source: `*` and `?` stay within a folder, `**` crosses folders.

A pattern is matched against the whole path from the root of the source; `docs/**` is everything
below docs, `**/*.py` is every Python file, also at the root.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Translate one pattern; an unclosed `[` stands for itself."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        piece, at = _piece(pattern, at)
        out.append(piece)
    return re.compile("".join(out), re.DOTALL)


def _piece(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
        return "(?:[^/]+/)*", at + 3
    if pattern.startswith("**", at):
        return ".*", at + 2
    char = pattern[at]
    if char == "*":
        return "[^/]*", at + 1
    if char == "?":
        return "[^/]", at + 1
    if char == "[" and (end := pattern.find("]", at + 2)) > 0:
        negated = pattern[at + 1] in "!^"
        inner = pattern[at + 1 + negated : end]
        if inner:
            escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner)
            return f"(?!/)[{'^' if negated else ''}{escaped}]", end + 1
    return re.escape(char), at + 1


def selected(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Return whether a path is included (by any pattern, or by none given) and not excluded."""
    if include and not any(compiled(pattern).fullmatch(path) for pattern in include):
        return False
    return not any(compiled(pattern).fullmatch(path) for pattern in exclude)
