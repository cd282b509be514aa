"""What was set aside, with reason and place; never with its text.

The dataset is published, and what lies here may be a secret or may not be distributed. Path and
line lead whoever may see it to the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import orjson

from mens_corpus import jsonl

FILE: Final = "quarantine.jsonl.zst"
"""Name in the artifact."""


class Quarantine:
    """Collects entries on disk, one JSON object a line, while it is entered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(
        self, source: str, path: str, reason: str, message: str, place: Mapping[str, str | int]
    ) -> None:
        """Set one candidate aside."""
        entry = {"source": source, "path": path, "reason": reason, "message": message, **place}
        self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def write(self, folder: Path) -> None:
        """Write the entries into the artifact, in the order in which they came; closes."""
        self._file.close()
        with self._path.open("rb") as lines:
            jsonl.write_lines(folder / FILE, lines)
