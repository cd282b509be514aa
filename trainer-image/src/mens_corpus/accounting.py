"""Accounting: in = emitted + deduplicated + filtered + quarantined + sampled out.

The unit is a candidate: a function or a section that an extractor found. A document without
candidates (unreadable, too large, invalid, or empty) counts as one.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Outcome(enum.StrEnum):
    """The outcome of a candidate; the values are keys of the manifest."""

    EMITTED = "emitted"
    """It is a row of the dataset; the reason is the name of its split."""
    DEDUPLICATED = "deduplicated"
    """A duplicate of it was kept."""
    FILTERED = "filtered"
    """A rule of an extractor excludes it."""
    QUARANTINED = "quarantined"
    """It is listed in quarantine.jsonl.zst with its reason."""
    SAMPLED_OUT = "sampledOut"
    """The weight of the source excludes it."""


class UnbalancedError(Exception):
    """Candidates were lost or counted twice: a defect of this program."""


@dataclass
class SourceCounters:
    """Counters of one source."""

    documents: int = 0
    """Documents read."""
    size_bytes: int = 0
    """Total bytes of these documents."""
    candidates: int = 0
    """All candidates of the source."""
    outcomes: dict[Outcome, Counter[str]] = field(
        default_factory=lambda: {outcome: Counter() for outcome in Outcome}
    )
    """Number of candidates by outcome and reason."""
    skipped: str = ""
    """Why an optional source was skipped; empty for a source that was read."""

    def add_candidates(self, count: int = 1) -> None:
        """Count candidates; each one must get an outcome later."""
        self.candidates += count

    def add_outcome(self, outcome: Outcome, reason: str, count: int = 1) -> None:
        """Count candidates whose outcome is known."""
        self.outcomes[outcome][reason] += count

    def total(self, outcome: Outcome) -> int:
        """Return the number of candidates with an outcome, for any reason."""
        return self.outcomes[outcome].total()

    def to_object(self) -> dict[str, Any]:
        """Return the counters as a JSON object; reasons are sorted, unused outcomes are empty."""
        outcomes = {
            name.value: dict(sorted(found.items())) for name, found in self.outcomes.items()
        }
        content: dict[str, Any] = {"documents": self.documents, "bytes": self.size_bytes}
        content |= {"in": self.candidates, **outcomes}
        return content | ({"skipped": self.skipped} if self.skipped else {})


class Counters:
    """Counters of all sources, in the order of the spec."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._by_source = {name: SourceCounters() for name in sources}

    def __getitem__(self, source: str) -> SourceCounters:
        """Return the counters of one source."""
        return self._by_source[source]

    def __iter__(self) -> Iterator[tuple[str, SourceCounters]]:
        """Yield the name and the counters of each source."""
        return iter(self._by_source.items())

    def total(self, outcome: Outcome, reason: str | None = None) -> int:
        """Return the number of candidates with an outcome, for any reason or for one reason."""
        if reason is None:
            return sum(counters.total(outcome) for _, counters in self)
        return sum(counters.outcomes[outcome][reason] for _, counters in self)

    def check_balance(self) -> None:
        """Check that every candidate has exactly one outcome.

        Raises:
            UnbalancedError: With the source and its numbers.
        """
        for name, counters in self:
            counted = sum(counters.total(outcome) for outcome in Outcome)
            if counted != counters.candidates:
                raise UnbalancedError(
                    f"source {name}: {counters.candidates} candidates, {counted} outcomes"
                )

    def to_object(self) -> dict[str, Any]:
        """Return all counters as a JSON object, by source."""
        return {name: counters.to_object() for name, counters in self}


def format_table(accounting: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the counters as text: a block per source with one line per outcome."""
    lines = [
        f"{'source':<24}{'in':>8}{'emitted':>9}{'dedup':>8}{'filtered':>9}{'quarant.':>9}"
        f"{'sampled':>8}"
    ]
    for name, counters in accounting.items():
        totals = [sum(counters.get(outcome.value, {}).values()) for outcome in Outcome]
        numbers = f"{totals[0]:>9}{totals[1]:>8}{totals[2]:>9}{totals[3]:>9}{totals[4]:>8}"
        lines.append(f"{name:<24}{counters.get('in', 0):>8}{numbers}")
        lines += [f"  skipped: {counters['skipped']}"] if counters.get("skipped") else []
        for outcome in Outcome:
            reasons = counters.get(outcome.value, {})
            text = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
            lines += [f"  {outcome.value}: {text}"] if text else []
    return "\n".join(lines)
