"""Documents in order, while the next ones are already on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent import futures
from itertools import islice
from typing import Final

from mens_corpus.readers import trees

THREADS: Final = 8
"""Reads at a time: enough to hide an object store's latency behind the parser."""
AHEAD: Final = 32
"""Documents held at most, so that memory stays below AHEAD x DOCUMENT_LIMIT."""


def in_order(
    tree: trees.Tree, entries: Iterable[trees.Entry]
) -> Iterator[tuple[trees.Entry, bytes | None]]:
    """Yield each entry with its bytes, in the order of `entries`; errors come where they belong."""
    remaining = iter(entries)
    pool = futures.ThreadPoolExecutor(THREADS, thread_name_prefix="read")
    running: deque[tuple[trees.Entry, futures.Future[bytes | None]]] = deque()
    try:
        for entry in islice(remaining, AHEAD):
            running.append((entry, pool.submit(_read, tree, entry)))
        while running:
            entry, future = running.popleft()
            data = future.result()
            for following in islice(remaining, 1):
                running.append((following, pool.submit(_read, tree, following)))
            yield entry, data
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(tree: trees.Tree, entry: trees.Entry) -> bytes | None:
    return None if entry.refused else tree.read(entry)
