"""What an extractor says about each thing it found: a draft, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from mens_corpus import rows


@dataclass(frozen=True, slots=True)
class Shape:
    """What all rows of an extractor have in common."""

    lane: rows.Lane
    category: str
    task_family: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Text of a row, before license and source are known."""

    prompt: str
    response: str
    shape: Shape
    metadata: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Filtered:
    """Something that could have been a row and is left out by a rule."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A document or a part of it that cannot be read; it is quarantined."""

    reason: str
    message: str
    """What is wrong, without the text itself."""
    line: int = 0
    """1-based; 0 where no line is to blame."""
    column: int = 0


Outcome: TypeAlias = Draft | Filtered | Broken
