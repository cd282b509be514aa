"""Runs programs with their output in a log, and says the end of it when they fail."""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hack.support import interrupts

CLEANING_SECONDS = 10.0
"""How long an interrupted build may take to clean up after itself."""


class ImagesError(Exception):
    """Something a person can act on; shown without a traceback."""


def run(command: Sequence[str], log: Path) -> None:
    """Runs a command whose output nobody parses.

    Raises:
        ImagesError: It failed or is not installed.
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
            raise ImagesError(f"{command[0]} is not installed") from missing
        except KeyboardInterrupt:
            # It was interrupted with us and now unmounts and deletes what it made; `run` would kill
            # it a quarter of a second later.
            with contextlib.suppress(subprocess.TimeoutExpired):
                started[0].wait(CLEANING_SECONDS)
            raise
    if code != 0:
        raise ImagesError(f"{command[0]} failed\n--- end of {log}\n{tail(log, 20)}")


def output(command: Sequence[str], stdin: bytes | None = None) -> str:
    """Runs a command and returns what it printed.

    Raises:
        ImagesError: It failed or is not installed.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    except FileNotFoundError as missing:
        raise ImagesError(f"{command[0]} is not installed") from missing
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise ImagesError(f"{' '.join(command)}: {said}")
    return done.stdout.decode()


def tail(log: Path, lines: int) -> str:
    """Returns the last lines of a log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
