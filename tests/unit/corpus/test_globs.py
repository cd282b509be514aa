"""Glob patterns of include and exclude."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens_corpus import globs


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("**/*.py", ["a.py", "a/b.py", "a/b/c.py"], ["a.pyc", "a.py/b"]),
        ("*.py", ["a.py"], ["a/b.py"]),
        ("docs/**", ["docs/a", "docs/a/b.md"], ["docs", "other/docs/a"]),
        ("a/**/z.md", ["a/z.md", "a/b/c/z.md"], ["a/bz.md", "z.md"]),
        ("a?c/[xy].md", ["abc/x.md"], ["a/c/x.md", "abc/z.md"]),
        ("[!a].md", ["b.md"], ["a.md", "/.md"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a+(b).md", ["a+(b).md"], ["aab.md"]),
        ("**", ["a", "a/b"], []),
    ],
)
def test_pattern_matches_whole_paths(pattern: str, matching: list[str], others: list[str]) -> None:
    """`*` matches within a folder, `**/` any number of folders; other characters are literal."""
    assert [path for path in matching if not globs.matches(path, [pattern], [])] == []
    assert [path for path in others if globs.matches(path, [pattern], [])] == []


def test_exclude_overrides_include() -> None:
    """An empty include selects all paths; exclude always applies."""
    assert globs.matches("a/b.py", [], [])
    assert not globs.matches("a/b.py", ["**/*.py"], ["a/**"])


@given(st.text(max_size=12), st.text(max_size=12))
def test_every_pattern_compiles(pattern: str, path: str) -> None:
    """No pattern raises an error."""
    globs.matches(path, [pattern], [pattern])
