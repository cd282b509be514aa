"""Rules of the operator that no type checker knows."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ROOT / "operator" / "src" / "mens_operator"
ALLOWED = {"event", "login"}
"""`event` wakes us; `login` gives kopf its credentials. Every other one writes or keeps state."""


def _on(tree: ast.AST) -> set[str]:
    """Names that are taken from `kopf.on`, and kopf's other decorators."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        inner = node.value
        of_kopf = isinstance(inner, ast.Name) and inner.id == "kopf"
        if of_kopf and node.attr in {"timer", "daemon", "index"}:
            found.add(node.attr)
        if (
            isinstance(inner, ast.Attribute)
            and inner.attr == "on"
            and isinstance(inner.value, ast.Name)
            and inner.value.id == "kopf"
        ):
            found.add(node.attr)
    return found


def test_kopf_is_used_as_a_wake_up_only() -> None:
    """kopf's create, update, delete, timer, daemon and index handlers write or leave ghosts."""
    for file in OPERATOR.rglob("*.py"):
        text = file.read_text()
        assert _on(ast.parse(text)) <= ALLOWED, file
        assert "from kopf import" not in text, file


def test_handlers_are_short() -> None:
    """Handlers translate: twenty lines at most."""
    for file in (OPERATOR / "handlers").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
                assert lines <= 25 if node.name == "registry" else lines <= 20, (file, node.name)


def test_the_operator_folder_is_no_package() -> None:
    """With an __init__.py in it Python itself would not start from the repository root."""
    assert not list((ROOT / "operator").glob("*.py"))


def test_plans_read_no_clock_and_no_environment() -> None:
    """Time comes in as a parameter."""
    for room in ("plans", "manifests"):
        for file in (OPERATOR / room).glob("*.py"):
            text = file.read_text()
            for word in ("datetime.now", "utcnow", "time.time", "monotonic", "os.environ", "uuid4"):
                assert word not in text, (file, word)


def test_files_and_functions_stay_readable() -> None:
    """At most 410 lines a file and 40 a function body."""
    for file in OPERATOR.rglob("*.py"):
        text = file.read_text()
        assert len(text.splitlines()) <= 410, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
                first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
                length = (node.body[-1].end_lineno or 0) - first.lineno + 1
                assert length <= 45, (file, node.name, length)
