"""`make help`, on a terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELP = ("make", "--no-print-directory", "help")


def test_help_is_plain_text_in_a_pipe() -> None:
    """A pipe gets no escape codes."""
    printed = subprocess.run(HELP, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert any(line.startswith("  demo  ") for line in lines)
    assert any(line.startswith("  test  ") for line in lines)


def test_help_is_bold_on_a_terminal() -> None:
    """The names of the commands, not their descriptions."""
    reader, terminal = pty.openpty()
    try:
        subprocess.run(HELP, cwd=ROOT, stdout=terminal, check=True)
        # The text is shorter than the pipe's buffer, so that `make` does not block.
        printed = ""
        while "The main job" not in printed:  # A terminal can deliver the text in pieces.
            printed += os.read(reader, 1 << 16).decode()
    finally:
        os.close(reader)
        os.close(terminal)
    assert "\x1b[1mdemo            \x1b[0m The main job" in printed
