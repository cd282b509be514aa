"""Rules of the operator that no type checker knows."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ROOT / "operator" / "src" / "mens_operator"
ALLOWED = {"event", "login"}
"""`event` delivers changes; `login` gives kopf its credentials. Others write or keep state."""


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


def test_kopf_only_delivers_events() -> None:
    """kopf's other handlers are edge-triggered, write to objects, or leave finalizers behind."""
    for file in OPERATOR.rglob("*.py"):
        text = file.read_text()
        assert _on(ast.parse(text)) <= ALLOWED, file
        assert "from kopf import" not in text, file


def test_plans_do_not_read_clock_or_environment() -> None:
    """Time comes in as a parameter."""
    for room in ("plans", "manifests"):
        for file in (OPERATOR / room).glob("*.py"):
            text = file.read_text()
            for word in ("datetime.now", "utcnow", "time.time", "monotonic", "os.environ", "uuid4"):
                assert word not in text, (file, word)
