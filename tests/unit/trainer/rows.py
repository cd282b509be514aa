"""Corpora for the trainer's tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import zstandard

from mens_trainer import data

WORDS = ("add", "open", "close", "read", "write", "join", "split", "send", "load", "save", "find")
"""Names of the functions that the rows ask about."""


def rows(count: int) -> list[dict[str, Any]]:
    """Rows that a tiny model can learn: the answer repeats a word of the prompt."""
    return [
        {
            "id": str(i),
            "prompt": f"Name it: {WORDS[i % len(WORDS)]}{'!' * (i % 5)}",
            "response": f'{{"name": "{WORDS[i % len(WORDS)]}"}}',
        }
        for i in range(count)
    ]


def write(path: Path, content: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as a corpus file."""
    lines = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(zstandard.ZstdCompressor().compress(lines.encode()))


def corpus(folder: Path, train: int = 80, validation: int = 8) -> Path:
    """Write both files of a corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / data.TRAIN, rows(train))
    write(folder / data.VALIDATION, rows(validation))
    return folder
