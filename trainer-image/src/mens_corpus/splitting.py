"""Held-out rows: whole groups (files) by a seeded hash, so that no file is on both sides."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import TypeVar

from mens_corpus import rows

GroupT = TypeVar("GroupT", bound=Hashable)


def held_out(sizes: Mapping[GroupT, int], *, fraction: Decimal, seed: int) -> frozenset[GroupT]:
    """Choose the groups to hold out: about `fraction` of all rows, never more than that.

    Groups come in the order of a seeded hash of their name, and each that still fits is taken: one
    more file in a source moves few others. Where not even one fits, the smallest group is held out,
    unless it is the only one. The order of `sizes` does not matter.
    """
    if fraction <= 0 or len(sizes) < 2:
        return frozenset()
    wanted = int(fraction * sum(sizes.values()))
    order = sorted(sizes, key=lambda group: rows.digest_of(seed, "split", str(group)))
    chosen: set[GroupT] = set()
    for group in order:
        if sizes[group] <= wanted and len(chosen) < len(sizes) - 1:
            chosen.add(group)
            wanted -= sizes[group]
    return frozenset(chosen or {min(order, key=lambda group: sizes[group])})
