"""Termination on a signal: a program and all processes that it started clean up and exit."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

STUBBORN_SECONDS = 5.0
"""How long a process that ignored an interrupt may take to end by SIGTERM, then by SIGKILL."""

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def install() -> None:
    """Makes SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in this program.

    A non-interactive shell starts `command &` with SIGINT ignored, and Python and every child
    inherit that: Ctrl-C would have no effect. An ignored SIGHUP stays ignored, because `nohup`
    asks for it.
    """
    for number in _NUMBERS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delays interrupts until the block ends.

    For a block that starts a process and records it: an interrupt between the two would leave an
    unknown process behind.
    """
    came: list[int] = []
    ours = [n for n in _NUMBERS if signal.getsignal(n) is signal.default_int_handler]
    if threading.current_thread() is not threading.main_thread():
        ours = []  # interrupts come to the main thread alone, which alone may change handlers
    for number in ours:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def end(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Ends processes with everything they started; returns when all of it has ended.

    First an interrupt, as Ctrl-C on a terminal sends it, which lets them clean up. What remains
    gets SIGTERM, then SIGKILL. If this program is interrupted meanwhile, it continues with the next
    step at once: the user who presses Ctrl-C again does not want to wait.

    Args:
        processes: Each the leader of a process group (`start_new_session=True`).
        seconds: How long they may take to clean up.
    """
    _round(processes, signal.SIGINT, lambda: _running(processes), seconds)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _round(processes, number, lambda: _alive(processes), STUBBORN_SECONDS)


def _round(
    processes: Sequence[subprocess.Popen[bytes]],
    number: signal.Signals,
    waiting: Callable[[], bool],
    seconds: float,
) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    deadline = time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while waiting() and time.monotonic() < deadline:
            time.sleep(0.05)


def _running(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    return any(process.poll() is None for process in processes)


def _alive(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Whether any process of their groups runs; a zombie does not."""
    groups = {process.pid for process in processes}
    return _running(processes) or any(
        state not in "ZX" and group in groups for state, group in _states()
    )


def _states() -> list[tuple[str, int]]:
    """State and process group of every process on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # The name in parentheses may hold spaces and parentheses itself.
            state, _, group, *_ = path.read_text().rpartition(") ")[2].split()
            found.append((state, int(group)))
    return found
