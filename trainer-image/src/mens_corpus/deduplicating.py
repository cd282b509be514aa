"""Exact duplicates: of rows with equal texts, white space aside, the first by priority stays."""

from __future__ import annotations

from collections.abc import Iterable

from mens_corpus import spool


def survivors(spooled: Iterable[spool.Spooled]) -> list[spool.Spooled]:
    """Return one row of each set of equal ones, in no meaningful order.

    Laws: survivors of survivors are the same; the order of the input does not matter.
    """
    best: dict[str, spool.Spooled] = {}
    for row in spooled:
        present = best.get(row.duplicate_key)
        if present is None or row.priority < present.priority:
            best[row.duplicate_key] = row
    return list(best.values())
