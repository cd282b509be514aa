"""Fixtures of tests that parse the project's own sources."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Disables garbage collection while a source is parsed.

    Python 3.11 raises SystemError ("AST constructor recursion depth mismatch") when a finalizer in
    the middle of `ast.parse` parses as well, as the traceback of a task that nobody awaited does.
    """
    gc.disable()
    yield
    gc.enable()
