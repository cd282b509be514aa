"""Runs programs with their output in a log, whose last lines are part of the error."""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hack.support import errors, interrupts

CLEANING_SECONDS = 10.0
"""How long an interrupted program may take to clean up."""


def run(command: Sequence[str], log: Path) -> None:
    """Runs a command and appends its output to a log.

    Raises:
        ToolError: It failed or is not installed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        started: list[subprocess.Popen[bytes]] = []
        try:
            with interrupts.deferred():
                started.append(
                    subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                    )
                )
            code = started[0].wait()
        except FileNotFoundError as missing:
            raise errors.ToolError(f"{command[0]} is not installed") from missing
        except KeyboardInterrupt:
            # The program received the same interrupt and now unmounts and deletes what it made;
            # `subprocess.run` would kill it a quarter of a second later.
            with contextlib.suppress(subprocess.TimeoutExpired):
                started[0].wait(CLEANING_SECONDS)
            raise
    if code != 0:
        raise errors.ToolError(f"{command[0]} failed\n--- last lines of {log}\n{tail(log, 20)}")


def output(command: Sequence[str], stdin: bytes | None = None) -> str:
    """Runs a command and returns what it printed.

    Raises:
        ToolError: It failed or is not installed.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    except FileNotFoundError as missing:
        raise errors.ToolError(f"{command[0]} is not installed") from missing
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise errors.ToolError(f"{' '.join(command)}: {reason}")
    return done.stdout.decode()


def tail(log: Path, lines: int) -> str:
    """Returns the last lines of a log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
