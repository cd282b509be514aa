"""`make help`, which a newcomer types first, and which scripts read."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELP = ("make", "--no-print-directory", "help")


def test_help_is_plain_text_in_a_pipe() -> None:
    """Escape codes are for terminals only."""
    said = subprocess.run(HELP, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in said
    lines = said.splitlines()
    assert any(line.startswith("  demo  ") for line in lines)
    assert any(line.startswith("  test  ") for line in lines)


def test_help_is_bold_on_a_terminal() -> None:
    """The commands stand out from what they do."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(HELP, cwd=ROOT, stdout=theirs, check=True)
        # Less than a pipe holds, so that nothing waits for us to read.
        said = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "\x1b[1mdemo            \x1b[0m The main job" in said
