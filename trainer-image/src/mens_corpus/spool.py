"""The spool: all rows in a temporary file, and in memory only what the selection needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from mens_corpus import rows


@dataclass(frozen=True, slots=True)
class SpooledRow:
    """The facts about a row that deduplication, sampling and split use, and where the row is."""

    id: str
    duplicate_key: str
    order: int
    """Index of the source in the spec: of duplicates, the one with the lowest index is kept."""
    source: str
    path: str
    line: int
    license: str
    offset: int
    """Position of the row's line in the spool, in bytes."""
    length: int
    """Bytes of the line."""

    @property
    def group(self) -> tuple[str, str]:
        """The rows of a document are never divided between the splits."""
        return (self.source, self.path)

    @property
    def priority(self) -> tuple[int, str, int, str]:
        """Of duplicates, the one with the lowest priority is kept."""
        return (self.order, self.path, self.line, self.id)


class Spool:
    """A temporary file of rows; each line is as it will be in the dataset."""

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

    def add(self, row: rows.Row, *, order: int) -> SpooledRow:
        """Write a row; `order` is the index of its source."""
        content = row.to_object()
        line = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
        self._file.write(line)
        offset, self._end = self._end, self._end + len(line)
        return SpooledRow(
            content["id"],
            row.duplicate_key,
            order,
            row.source,
            row.path,
            int(row.metadata.get("line", 0)),
            row.license,
            offset,
            len(line),
        )

    def lines(self, spooled: Iterable[SpooledRow]) -> Iterator[bytes]:
        """Yield the lines of rows, in the given order."""
        self._file.flush()
        for row in spooled:
            self._file.seek(row.offset)
            yield self._file.read(row.length)
        self._file.seek(self._end)
