"""Parallel transfers that report progress and stop at an error: for publishing and fetching."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in total; from several threads, but never concurrently."""

THREADS: Final = 4
"""Number of parallel transfers. More did not help against one server and cost a buffer each."""


class Meter:
    """Adds up bytes from several threads and reports them to one listener."""

    def __init__(self, total: int, listener: Progress | None) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._total = total
        self._listener = listener

    def add(self, count: int) -> None:
        """Add transferred bytes."""
        if self._listener is None:
            return
        with self._lock:
            self._done += count
            self._listener(self._done, self._total)


def for_each(
    items: Iterable[Item], work: Callable[[Item], Result], threads: int = THREADS
) -> list[Result]:
    """Apply `work` to all items in parallel, and return the results in order.

    After the first error no new item is started, and the error is raised.
    """
    stop = threading.Event()

    def guarded(item: Item) -> Result:
        if stop.is_set():
            raise futures.CancelledError
        try:
            return work(item)
        except BaseException:
            stop.set()
            raise

    pool = futures.ThreadPoolExecutor(max_workers=max(1, threads))
    try:
        running = [pool.submit(guarded, item) for item in items]
        futures.wait(running, return_when=futures.FIRST_EXCEPTION)
    finally:
        # Also on Ctrl-C and SIGTERM: running transfers complete, waiting ones are dropped.
        pool.shutdown(cancel_futures=True)
    ended = [future for future in running if not future.cancelled()]  # codespell:ignore
    failed = (future.exception() for future in ended)
    if error := next((e for e in failed if e and not isinstance(e, futures.CancelledError)), None):
        raise error
    return [future.result() for future in running]
