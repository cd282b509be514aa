"""The quarantine: excluded candidates with reason and location, never with their text.

The quarantine is published with the dataset, and the text may be a secret or may not be
distributed. Path and line lead a person with access to the source to the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import orjson

from mens_corpus import jsonl

FILE: Final = "quarantine.jsonl.zst"
"""Name of the file in the artifact."""


class Quarantine:
    """Collects entries in a temporary file, one JSON object per line; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(
        self, source: str, path: str, reason: str, message: str, location: Mapping[str, str | int]
    ) -> None:
        """Quarantine one candidate."""
        entry = {"source": source, "path": path, "reason": reason, "message": message, **location}
        self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def write(self, folder: Path) -> None:
        """Write the entries into the artifact, in the order of `add`; closes the quarantine."""
        self._file.close()
        with self._path.open("rb") as lines:
            jsonl.write_lines(folder / FILE, lines)
