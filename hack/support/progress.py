"""Progress output: a live line on a terminal, plain lines in a log."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator

LOG_INTERVAL = 15.0
"""Seconds between lines in a log: rare enough to read, often enough to show that nothing hangs."""


def say(text: str) -> None:
    """Prints one line of progress on stderr; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Prints the step with the seconds it took once it is done, or that it failed."""
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"  ✗ {title} ({time.monotonic() - begun:.1f} s)")
        raise
    say(f"  ✓ {title} ({time.monotonic() - begun:.1f} s)")


@contextlib.contextmanager
def live(describe: Callable[[], str]) -> Iterator[None]:
    """Shows what `describe` returns until the block ends: rewritten in place, or plain lines."""
    terminal = sys.stderr.isatty()
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(0.5 if terminal else LOG_INTERVAL):
            _show(describe(), terminal)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if terminal:
            _show("", terminal)


def _show(text: str, terminal: bool) -> None:
    if not terminal:
        say(f"  … {text}")
        return
    width = shutil.get_terminal_size().columns - 1
    sys.stderr.write("\r\x1b[K" + text[:width])
    sys.stderr.flush()


def minutes(seconds: float) -> str:
    """Formats a duration: `45 s`, `7.0 min`."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
