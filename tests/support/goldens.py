"""Golden files: expected text beside the tests, rewritten by `pytest --update-expected`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

OPTION = "--update-expected"


@dataclass(frozen=True)
class Golden:
    """Compares text with golden files, or rewrites the files."""

    update: bool
    """Whether to write the actual text to the file before it is compared."""

    def check(self, path: Path, actual: str) -> None:
        """Assert that a file holds exactly this text."""
        if self.update:
            path.write_text(actual)
        assert path.exists(), f"{path} is missing; pytest {OPTION} writes it"
        expected = path.read_text()
        lines = difflib.unified_diff(
            expected.splitlines(), actual.splitlines(), "expected", "actual", lineterm=""
        )
        diff = "\n".join(lines)
        assert actual == expected, f"{path.name} differs; pytest {OPTION} accepts it:\n{diff}"
