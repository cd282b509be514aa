"""Where everything went: in = emitted + deduplicated + filtered + quarantined + sampled out.

The unit is a candidate: a function or a section that an extractor looked at, or a document that
gave none of them (unreadable, too large, not understood), which counts as one.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Fate(enum.StrEnum):
    """What became of a candidate."""

    EMITTED = "emitted"
    """It is a row of the dataset; the reason is the side of the split."""
    DEDUPLICATED = "deduplicated"
    """An equal row stayed."""
    FILTERED = "filtered"
    """A rule of an extractor leaves it out."""
    QUARANTINED = "quarantined"
    """It was set aside, and lies in quarantine.jsonl.zst with its reason."""
    SAMPLED_OUT = "sampledOut"
    """The source's weight leaves it out."""


class UnbalancedError(Exception):
    """Candidates were lost or counted twice: a defect of this program."""


@dataclass
class SourceCount:
    """Counters of one source."""

    documents: int = 0
    """Documents read."""
    size_bytes: int = 0
    """Their bytes."""
    candidates: int = 0
    """Everything that came in."""
    fates: dict[Fate, Counter[str]] = field(
        default_factory=lambda: {fate: Counter() for fate in Fate}
    )
    """Number of candidates by fate and reason."""
    skipped: str = ""
    """Why an optional source was left out; empty for one that was read."""

    def entered(self, count: int = 1) -> None:
        """Count candidates that came in; each must later get a fate."""
        self.candidates += count

    def settled(self, fate: Fate, reason: str, count: int = 1) -> None:
        """Count candidates that found their fate."""
        self.fates[fate][reason] += count

    def total(self, fate: Fate) -> int:
        """Return the candidates with a fate, for whatever reason."""
        return self.fates[fate].total()

    def to_object(self) -> dict[str, Any]:
        """Return the JSON object of the counters: reasons sorted, fates without entries empty."""
        fates = {fate.value: dict(sorted(found.items())) for fate, found in self.fates.items()}
        said: dict[str, Any] = {"documents": self.documents, "bytes": self.size_bytes}
        said |= {"in": self.candidates, **fates}
        return said | ({"skipped": self.skipped} if self.skipped else {})


class Ledger:
    """Counters of all sources, in the order of the spec."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._counts = {name: SourceCount() for name in sources}

    def __getitem__(self, source: str) -> SourceCount:
        """Return the counters of one source."""
        return self._counts[source]

    def __iter__(self) -> Iterator[tuple[str, SourceCount]]:
        """Yield name and counters of each source."""
        return iter(self._counts.items())

    def total(self, fate: Fate, reason: str | None = None) -> int:
        """Return the candidates of all sources with a fate, or with one reason of it."""
        if reason is None:
            return sum(count.total(fate) for _, count in self)
        return sum(count.fates[fate][reason] for _, count in self)

    def check(self) -> None:
        """Check that nothing was lost or counted twice.

        Raises:
            UnbalancedError: With the source and its numbers.
        """
        for name, count in self:
            settled = sum(count.total(fate) for fate in Fate)
            if settled != count.candidates:
                raise UnbalancedError(f"{name}: {count.candidates} came in, {settled} came out")

    def to_object(self) -> dict[str, Any]:
        """Return the JSON object of all counters, by source."""
        return {name: count.to_object() for name, count in self}


def table(accounting: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the counters as lines for a person: one block per source, one line per reason."""
    lines = [
        f"{'source':<24}{'in':>8}{'emitted':>9}{'dedup':>8}{'filtered':>9}{'quarant.':>9}"
        f"{'sampled':>8}"
    ]
    for name, count in accounting.items():
        totals = [sum(count.get(fate.value, {}).values()) for fate in Fate]
        numbers = f"{totals[0]:>9}{totals[1]:>8}{totals[2]:>9}{totals[3]:>9}{totals[4]:>8}"
        lines.append(f"{name:<24}{count.get('in', 0):>8}{numbers}")
        lines += [f"  skipped: {count['skipped']}"] if count.get("skipped") else []
        for fate in Fate:
            reasons = count.get(fate.value, {})
            said = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
            lines += [f"  {fate.value}: {said}"] if said else []
    return "\n".join(lines)
