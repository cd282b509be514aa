"""The protocol of a source: named documents whose bytes can be asked for, in no promised order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

DOCUMENT_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of the largest document that is read. What is larger is generated, or data: the largest
file of the standard library has 0.7 MB."""

LOST_LINK: Final = "a symbolic link that leads to no file of the source"
"""Why a link is refused."""


@dataclass(frozen=True, order=True, slots=True)
class Entry:
    """One document of a tree."""

    path: str
    """Path from the root of the source, with slashes."""
    size: int
    """Bytes as the tree says; -1 where it does not know before reading."""
    key: str = ""
    """How the tree itself finds the bytes."""
    link: bool = False
    """Whether it is a symbolic link. A license file may be one; a document is read where it lies,
    and once."""
    refused: str = ""
    """Why it cannot be read, and the next step; empty if it can."""


class Tree(Protocol):
    """Documents of one source, fixed at one moment where the source allows it."""

    @property
    def uri(self) -> str:
        """Where the documents lie, without credentials; with the commit for Git."""
        ...

    def entries(self) -> Iterable[Entry]:
        """All documents.

        Raises:
            SourceMissing: If there is nothing.
        """
        ...

    def read(self, entry: Entry) -> bytes | None:
        """The bytes of a document; None if it has more than DOCUMENT_LIMIT. Thread-safe."""
        ...

    def close(self) -> None:
        """Let go of files and connections; the tree is not used any more."""
        ...
