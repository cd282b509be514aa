"""The size rules: this is where the numbers are, and CONTRIBUTING refers to them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES = 400
"""Maximum lines of a Python file: a longer one has more than one concern."""
FUNCTION_LINES = 40
"""Maximum lines of a function's body without its docstring. A test may be a longer story."""
HANDLER_LINES = 20
"""Maximum lines of a function in the operator's handlers: they translate, and decide nothing."""

PROGRAMS = ("src", "operator/src", "trainer-image/src", "server-image/src", "hack", "benchmarks")
HANDLERS = ROOT / "operator" / "src" / "mens_operator" / "handlers"

EXCEPTIONS = {
    "src/mens/cli/model.py::_import": "the steps of one command in the order in which they run",
    "trainer-image/src/mens_trainer/preparation.py::prepare": "all that training needs, in order",
    "trainer-image/src/mens_trainer/training.py::_run": "the whole training step, read top-down",
    "benchmarks/artifacts/__main__.py::_compare": "a script: linear on purpose",
    "operator/src/mens_operator/handlers/events.py::registry": "a list of registrations",
    "tests/model/trainer/test_job.py": "one job's life; its tests share the fixtures of a run",
    "tests/support/port_contract.py": "one contract that every cluster port runs as a whole",
    "tests/unit/cli/test_commands.py": "one command after the other, on the same store",
    "tests/unit/corpus/test_builder.py": "one builder, from sources to the published dataset",
}
"""Path, or path::function -> why it may be longer."""


def _files(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text()


def _functions(text: str) -> Iterator[tuple[str, int]]:
    """Each function with the lines of its body."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_files_are_of_readable_size() -> None:
    """Programs, tools and tests."""
    long = {
        path: lines
        for path, text in _files(*PROGRAMS, "tests")
        if (lines := len(text.splitlines())) > FILE_LINES and path not in EXCEPTIONS
    }
    assert long == {}


def test_functions_are_of_readable_size() -> None:
    """Programs and tools."""
    long = {
        name: lines
        for path, text in _files(*PROGRAMS)
        for function, lines in _functions(text)
        if lines > FUNCTION_LINES and (name := f"{path}::{function}") not in EXCEPTIONS
    }
    assert long == {}


def test_handlers_are_short() -> None:
    """They translate between kopf and the plans."""
    long = {
        name: lines
        for path, text in _files(str(HANDLERS.relative_to(ROOT)))
        for function, lines in _functions(text)
        if lines > HANDLER_LINES and (name := f"{path}::{function}") not in EXCEPTIONS
    }
    assert long == {}


def test_every_exception_still_exists() -> None:
    """An entry for code that is gone would excuse other code of that name."""
    for name in EXCEPTIONS:
        path, _, function = name.partition("::")
        assert (ROOT / path).exists(), name
        assert not function or function in dict(_functions((ROOT / path).read_text())), name
