"""A process by its number and start time: a number alone can name another process later."""

import contextlib
import dataclasses
import os
import signal
from pathlib import Path

from hack.support import wait


@dataclasses.dataclass(frozen=True)
class Process:
    """One process, distinct from a later one with the same number."""

    pid: int

    started: int
    """Clock ticks since boot at which it began (field 22 of /proc/PID/stat)."""

    def alive(self) -> bool:
        """Reports whether this process still runs (a zombie does not)."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.started and found[0] not in "ZX"

    def kill(self, seconds: float = 20) -> None:
        """Kills it if it is still the same process, and waits until it is gone."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        wait.until(f"the end of process {self.pid}", lambda: not self.alive(), seconds, 0.02)
        # If this program started it, it stays a zombie until its status is read.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)

    def children(self) -> list["Process"]:
        """Returns the direct children it has now."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [child for child in map(identify, map(int, text.split())) if child is not None]


def identify(pid: int) -> Process | None:
    """Returns the process that has this number now."""
    found = _stat(pid)
    return None if found is None else Process(pid, found[1])


def _stat(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
