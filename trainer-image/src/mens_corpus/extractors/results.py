"""Results of an extractor: the text of a row, or why a candidate is not a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from mens_corpus import rows


@dataclass(frozen=True, slots=True)
class RowLabels:
    """Fields that are equal in all rows of an extractor."""

    lane: rows.Lane
    category: str
    task_family: str


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a row, before its source and license are added."""

    prompt: str
    response: str
    labels: RowLabels
    metadata: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Filtered:
    """A candidate that a rule of the extractor excludes."""

    reason: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """A document or a part of it that cannot be parsed; it is quarantined."""

    reason: str
    message: str
    """The problem, without a quotation of the text."""
    line: int = 0
    """1-based; 0 if the problem has no line."""
    column: int = 0


Result: TypeAlias = Extracted | Filtered | Invalid
