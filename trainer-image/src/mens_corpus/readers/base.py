"""The protocol of readers: one source as a list of documents that can be read in any order.

`read_ahead` reads documents in order, with several reads in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from mens.runtime import errors

DOCUMENT_LIMIT: Final = 4 * 1024 * 1024
"""Maximum bytes of a document. Larger files are generated, or data: the largest file of the
standard library has 0.7 MB."""
READ_THREADS: Final = 8
"""Concurrent reads: enough to hide the latency of an object store behind the parser."""
READ_AHEAD: Final = 32
"""Maximum documents in memory; bounds the memory to READ_AHEAD x DOCUMENT_LIMIT."""

BROKEN_LINK: Final = "a symbolic link that does not lead to a file of the source"
"""Why a link cannot be read."""


class SourceNotFoundError(errors.InvalidInputError):
    """The source does not exist, or it is empty; an optional source is skipped."""


@dataclass(frozen=True, order=True, slots=True)
class Document:
    """One document of a source, without its bytes."""

    path: str
    """Path from the root of the source, with slashes."""
    size: int
    """Bytes as listed; -1 if the reader does not know them before it reads."""
    key: str = ""
    """Where the reader finds the bytes."""
    link: bool = False
    """Whether it is a symbolic link. A license file may be a link; other documents are read once,
    at the path of the file itself."""
    unreadable: str = ""
    """Why it cannot be read, and the next step; empty if it can be read."""


class Reader(Protocol):
    """Documents of one source, as of one point in time if the source allows it."""

    @property
    def uri(self) -> str:
        """Address of the source, without credentials; with the commit for Git."""
        ...

    def documents(self) -> Iterable[Document]:
        """All documents, in any order.

        Raises:
            SourceNotFoundError: If the source does not exist or is empty.
        """
        ...

    def read(self, document: Document) -> bytes | None:
        """The bytes of a document; None if it exceeds DOCUMENT_LIMIT. Thread-safe."""
        ...

    def close(self) -> None:
        """Release files and connections; the reader must not be used afterward."""
        ...


def read_ahead(
    reader: Reader, documents: Iterable[Document]
) -> Iterator[tuple[Document, bytes | None]]:
    """Yield each document with its bytes, in the order of `documents`.

    The bytes are None for a document that is unreadable or exceeds DOCUMENT_LIMIT. An error of
    `Reader.read` is raised when its document is due.
    """
    remaining = iter(documents)
    pool = futures.ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
    running: deque[tuple[Document, futures.Future[bytes | None]]] = deque()
    try:
        for document in islice(remaining, READ_AHEAD):
            running.append((document, pool.submit(_read, reader, document)))
        while running:
            document, future = running.popleft()
            data = future.result()
            for following in islice(remaining, 1):
                running.append((following, pool.submit(_read, reader, following)))
            yield document, data
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(reader: Reader, document: Document) -> bytes | None:
    return None if document.unreadable else reader.read(document)
