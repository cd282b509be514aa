"""Signal dispositions that a test relies on, whatever started pytest."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Programs that the test starts begin with the default reaction to each signal that ends one.

    A child inherits an ignored signal: `nohup` ignores SIGHUP, and a shell without job control
    ignores SIGINT for `command &`. The fixture lasts for one test, since pytest itself must
    continue to ignore what the user asked it to ignore.
    """
    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number, disposition in before.items():
        if disposition is signal.SIG_IGN:
            signal.signal(
                number,
                signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL,
            )
    yield
    for number, disposition in before.items():
        signal.signal(number, disposition)
