"""Prose reads as the Kubernetes documentation does: words that a native writer would not use.

CONTRIBUTING.md, rule 5. codespell checks the spelling; this checks phrases, in code and in prose.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPLACEMENTS = {
    r"\banew\b": "again",
    r"(?i)\bwhoever\b": "the client that",
    r"(?i)\bshall\b": "must or will",
    r"\bgoes? on\b(?! to)": "continues or resumes",
    r"(?<!there )(?<!There )\b(is|are|was) no\b(?! longer| more than)": "is not a",
    r"\bnobody needs?\b": "no action required",
    r"\bfor ever\b": "forever or indefinitely",
    r"\btells? of\b": "reports",
    r"\bnow and then\b": "from time to time",
}
"""Phrase, as a regular expression -> what to write."""
SUFFIXES = {".py", ".md", ".yaml", ".tpl", ".txt", ".toml", ".json", "", ".Dockerfile"}
SKIPPED = (
    "LICENSE",
    "requirements/",
    "tests/data/",
    "hack/cluster/modules/",
    "hack/devstore/requirements.txt",
    "tests/repo/test_words.py",
    "tests/unit/provenance/test_licenses.py",
    "src/mens/provenance/license_texts.py",
)
"""Texts of others, and this file."""


def _texts() -> dict[str, list[str]]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = [name for name in listed.stdout.splitlines() if not name.startswith(SKIPPED)]
    paths = [ROOT / name for name in names if Path(name).suffix in SUFFIXES]
    return {
        str(path.relative_to(ROOT)): path.read_text().splitlines()
        for path in paths
        if path.is_file()
    }


def test_no_phrase_reads_as_translated() -> None:
    """Each finding names the place, the phrase and what to write instead."""
    found = [
        f"{name}:{number}: {match.group(0)!r}: write {better!r}"
        for name, lines in _texts().items()
        for number, line in enumerate(lines, start=1)
        for phrase, better in REPLACEMENTS.items()
        if (match := re.search(phrase, line))
    ]
    assert found == []
