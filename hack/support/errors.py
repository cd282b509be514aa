"""The error of all tools: what failed, why, and what to do."""

from pathlib import Path


class ToolError(Exception):
    """A failure that the user can act on; printed without a traceback."""


def with_log(message: str, log: Path, lines: int = 15) -> ToolError:
    """Builds an error that carries the last lines of the log in which the cause most likely is."""
    return ToolError(f"{message}\n--- last lines of {log}\n{tail(log, lines)}")


def tail(log: Path, lines: int) -> str:
    """Returns the last lines of a file, or a note that the file does not exist."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return "(no such file)"
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"
