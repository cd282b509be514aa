"""Rows on disk while the corpus is being decided about; memory holds a few words of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from mens_corpus import rows


@dataclass(frozen=True, slots=True)
class Spooled:
    """What deduplication, sampling and split need to know of a row."""

    id: str
    duplicate_key: str
    order: int
    """Place of the source in the spec: of equal rows the lowest stays."""
    source: str
    path: str
    line: int
    license: str
    offset: int
    """Where the row's line begins in the spool."""
    length: int

    @property
    def group(self) -> tuple[str, str]:
        """What must not be torn apart by the split: the document."""
        return (self.source, self.path)

    @property
    def priority(self) -> tuple[int, str, int, str]:
        """Of equal rows the one with the lowest priority stays, in whatever order they came."""
        return (self.order, self.path, self.line, self.id)


class Spool:
    """A temporary file of rows, each as the line it will be in the dataset."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, row: rows.Row, *, order: int) -> Spooled:
        """Write a row."""
        said = row.to_object()
        line = orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)
        self._file.write(line)
        offset, self._end = self._end, self._end + len(line)
        return Spooled(
            said["id"],
            row.duplicate_key,
            order,
            row.source,
            row.path,
            int(row.metadata.get("line", 0)),
            row.license,
            offset,
            len(line),
        )

    def lines(self, spooled: Iterable[Spooled]) -> Iterator[bytes]:
        """Yield the lines of rows, in the given order."""
        self._file.flush()
        for row in spooled:
            self._file.seek(row.offset)
            yield self._file.read(row.length)
        self._file.seek(self._end)
