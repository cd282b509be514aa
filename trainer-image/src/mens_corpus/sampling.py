"""Weights: a source of weight below one gives a seeded sample of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from mens_corpus import rows


def quotas(sizes: Mapping[str, int], weights: Mapping[str, Decimal]) -> dict[str, int]:
    """Return how many rows each source keeps.

    The shares are weight x rows, at most all rows. Whole numbers come from the largest remainders,
    so that the sum is the rounded sum of the shares and no weight is rounded up on its own.
    """
    shares = {name: min(weights[name], Decimal(1)) * size for name, size in sizes.items()}
    kept = {name: int(share) for name, share in shares.items()}
    missing = int(sum(shares.values(), Decimal(0)).to_integral_value()) - sum(kept.values())
    by_remainder = sorted(shares, key=lambda name: (kept[name] - shares[name], name))
    for name in by_remainder[:missing]:
        kept[name] += 1
    return kept


def sample(ids: Sequence[str], quota: int, *, seed: int) -> frozenset[str]:
    """Choose `quota` of the ids by a seeded hash; the order of `ids` does not matter."""
    if quota >= len(ids):
        return frozenset(ids)
    return frozenset(sorted(ids, key=lambda name: rows.digest_of(seed, "sample", name))[:quota])
