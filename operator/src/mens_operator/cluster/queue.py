"""The work queue: each key is processed once at a time, at its earliest deadline.

Adding a waiting key moves it forward. Adding a key that is being processed runs it once more
afterwards. A failed key waits longer each time, even if it is added again: a failed reconcile can
have written something, and the event of that write must not start it again at once. Only an edit
(`reset_backoff`) ends a back-off. A level-triggered operator needs nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from mens_operator.cluster import errors, kinds

Work: TypeAlias = Callable[[kinds.Key], Awaitable[float | None]]
"""Reconciles a key and returns the seconds until it wants to be called again, None for never."""

_BACKOFF: Final = (0.5, 60.0)
"""First and longest pause after a failed reconcile, in seconds."""
_AWAY: Final = 15.0
"""Longest pause while the API server is away: half of the 30 s in which all is to be as it should
once it is back."""


class WorkQueue:
    """Keys with deadlines."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[kinds.Key, float] = {}
        self._heap: list[tuple[float, int, kinds.Key]] = []
        self._order = itertools.count()
        self._active: set[kinds.Key] = set()
        self._edited: set[kinds.Key] = set()
        """Keys that were woken reset_backoff while they were worked on."""
        self._failures: dict[kinds.Key, tuple[float, float]] = {}
        """When the back-off of a failed key ends, and the pause that it is."""
        self._news = asyncio.Event()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._due)

    @property
    def active(self) -> int:
        """How many keys are being worked on."""
        return len(self._active)

    def next_due(self) -> float | None:
        """Return when the next key is due, on the queue's clock."""
        return min(self._due.values(), default=None)

    def add(self, key: kinds.Key, after: float = 0.0, *, reset_backoff: bool = False) -> None:
        """Add a key, to be processed after some seconds. An earlier deadline of the key stays.

        A back-off stays, too, unless `reset_backoff` is true.
        """
        if reset_backoff:
            self._failures.pop(key, None)
            self._edited |= {key} & self._active
        floor, _ = self._failures.get(key, (float("-inf"), 0.0))
        due = max(self._clock() + after, floor)
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._news.set()

    def forget(self, key: kinds.Key) -> None:
        """Drop what is known of a key that exists no more."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    async def run(self, work: Work, width: int = 10) -> None:
        """Work on due keys, `width` at a time, until stopped or canceled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(self._worker(work))

    def stop(self) -> None:
        """Let `run` return once what is in flight has ended; nothing new is begun."""
        self._stopped = True
        self._news.set()

    async def drain(self, work: Work, *, until: float) -> int:
        """Work on what is due up to a moment, one after the other; return how many (for tests)."""
        done = 0
        while (key := self._pop(until)) is not None:
            await self._one(key, work)
            done += 1
        return done

    async def _worker(self, work: Work) -> None:
        while not self._stopped:
            key = self._pop(self._clock())
            if key is None:
                await self._wait()
                continue
            await self._one(key, work)

    async def _one(self, key: kinds.Key, work: Work) -> None:
        self._active.add(key)
        try:
            again = await work(key)
        except Exception as error:  # `work` logs; whatever it was, the key is tried again
            again = self._failed(key, error)
        else:
            self._failures.pop(key, None)
        finally:
            self._active.discard(key)
            self._edited.discard(key)
            self._news.set()
        if again is not None:
            self.add(key, again)

    def _failed(self, key: kinds.Key, error: Exception) -> float | None:
        """Return the back-off of a failed key in seconds, or None if an edit has reset it."""
        if key in self._edited:
            return None
        first, longest = _BACKOFF
        _, last = self._failures.get(key, (0.0, 0.0))
        asked = 0.0
        if isinstance(error, errors.Unavailable):
            asked, longest = min(error.retry_after or 0.0, longest), _AWAY
        pause = max(min(max(last * 2, first), longest), asked)
        self._failures[key] = (self._clock() + pause, pause)
        self._due.pop(key, None)  # Wishes of news that the failed work itself made wait, too.
        return pause

    def _pop(self, now: float) -> kinds.Key | None:
        """Take the first key that is due and not being worked on."""
        put_back = []
        found = None
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            due, _, key = entry
            if self._due.get(key) != due:
                continue  # A later wish replaced this entry.
            if key in self._active:
                put_back.append(entry)
                continue
            del self._due[key]
            found = key
            break
        for entry in put_back:
            heapq.heappush(self._heap, entry)
        return found

    async def _wait(self) -> None:
        """Sleep until the next deadline or the next news."""
        waiting = [due for key, due in self._due.items() if key not in self._active]
        pause = max(min(waiting) - self._clock(), 0.001) if waiting else None
        if self._stopped:
            return
        self._news.clear()
        # Not wait_for: until Python 3.12 it loses a cancellation that comes with the news.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._news.wait()
