"""The one error a person sees."""

from pathlib import Path


class ClusterError(Exception):
    """Something a person can act on: what failed, why, what to do; shown without a traceback."""


def with_log(message: str, log: Path, lines: int = 15) -> ClusterError:
    """Builds an error that carries the end of the log in which the reason most likely stands."""
    return ClusterError(f"{message}\n--- end of {log}\n{tail(log, lines)}")


def tail(log: Path, lines: int) -> str:
    """Returns the last lines of a file, or a note that there is no such file."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return "(no such file)"
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"
