"""Which rows enter the dataset, and in which split: deduplicate, sample, split.

All three steps see the rows of all sources and depend on row ids and the seed only, never on the
order of the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from mens.api import corpus
from mens_corpus import accounting, rows, spool

TRAIN = "train"
"""Name of the training split: reason of an emitted row and stem of its file."""
VALIDATION = "validation"
"""Name of the validation split."""

GroupT = TypeVar("GroupT", bound=Hashable)


@dataclass(frozen=True)
class Selection:
    """Rows of the dataset; each split is ordered by row id."""

    train: tuple[spool.SpooledRow, ...]
    validation: tuple[spool.SpooledRow, ...]


def select(
    spec: corpus.MensCorpusSpec,
    spooled: Sequence[spool.SpooledRow],
    counters: accounting.Counters,
) -> Selection:
    """Select the rows of the dataset and count the outcome of each row."""
    unique = deduplicate(spooled)
    _count_removed(spooled, unique, accounting.Outcome.DEDUPLICATED, "Exact", counters)
    sampled = _sample_sources(spec, unique)
    _count_removed(unique, sampled, accounting.Outcome.SAMPLED_OUT, "Weight", counters)
    held_out = validation_groups(
        Counter(row.group for row in sampled),
        fraction=Decimal(spec.split.validation_fraction),
        seed=spec.split.seed,
    )
    ordered = sorted(sampled, key=lambda row: row.id)
    train = tuple(row for row in ordered if row.group not in held_out)
    validation = tuple(row for row in ordered if row.group in held_out)
    for row in train:
        counters[row.source].add_outcome(accounting.Outcome.EMITTED, TRAIN)
    for row in validation:
        counters[row.source].add_outcome(accounting.Outcome.EMITTED, VALIDATION)
    return Selection(train, validation)


def _count_removed(
    before: Sequence[spool.SpooledRow],
    after: Sequence[spool.SpooledRow],
    outcome: accounting.Outcome,
    reason: str,
    counters: accounting.Counters,
) -> None:
    removed = Counter(row.source for row in before)
    removed.subtract(Counter(row.source for row in after))
    for source, count in removed.items():
        if count:
            counters[source].add_outcome(outcome, reason, count)


def deduplicate(spooled: Iterable[spool.SpooledRow]) -> list[spool.SpooledRow]:
    """Return one row of each set of exact duplicates: the one with the lowest priority.

    Rows are duplicates if their `duplicate_key` is equal. The result has no particular order.
    Laws: idempotent; independent of the order of the input.
    """
    kept: dict[str, spool.SpooledRow] = {}
    for row in spooled:
        present = kept.get(row.duplicate_key)
        if present is None or row.priority < present.priority:
            kept[row.duplicate_key] = row
    return list(kept.values())


def _sample_sources(
    spec: corpus.MensCorpusSpec, unique: Sequence[spool.SpooledRow]
) -> list[spool.SpooledRow]:
    """Reduce each source to its weight."""
    ids: dict[str, list[str]] = {source.name: [] for source in spec.sources}
    for row in unique:
        ids[row.source].append(row.id)
    weights = {source.name: Decimal(source.weight) for source in spec.sources}
    sizes = quotas({name: len(of_source) for name, of_source in ids.items()}, weights)
    sampled = {
        name: sample(of_source, sizes[name], seed=spec.split.seed)
        for name, of_source in ids.items()
    }
    return [row for row in unique if row.id in sampled[row.source]]


def quotas(sizes: Mapping[str, int], weights: Mapping[str, Decimal]) -> dict[str, int]:
    """Return the number of rows to keep, by source.

    The share of a source is weight x rows, limited to its rows. The largest-remainder method
    rounds the shares: they add up to the rounded sum, and no weight is rounded up on its own.
    """
    shares = {name: min(weights[name], Decimal(1)) * size for name, size in sizes.items()}
    kept = {name: int(share) for name, share in shares.items()}
    missing = int(sum(shares.values(), Decimal(0)).to_integral_value()) - sum(kept.values())
    by_remainder = sorted(shares, key=lambda name: (kept[name] - shares[name], name))
    for name in by_remainder[:missing]:
        kept[name] += 1
    return kept


def sample(ids: Sequence[str], quota: int, *, seed: int) -> frozenset[str]:
    """Sample `quota` of the ids by a seeded hash; independent of the order of `ids`."""
    if quota >= len(ids):
        return frozenset(ids)
    return frozenset(sorted(ids, key=lambda row_id: rows.hash_of(seed, "sample", row_id))[:quota])


def validation_groups(
    sizes: Mapping[GroupT, int], *, fraction: Decimal, seed: int
) -> frozenset[GroupT]:
    """Choose the groups (documents) to hold out: at most `fraction` of all rows.

    A document is never in both splits. Groups are visited in the order of a seeded hash of their
    name, and each group that still fits is held out: an additional document moves few others. If
    no group fits, the smallest one is held out, unless it is the only one. The order of `sizes`
    does not matter.
    """
    if fraction <= 0 or len(sizes) < 2:
        return frozenset()
    remaining = int(fraction * sum(sizes.values()))
    order = sorted(sizes, key=lambda group: rows.hash_of(seed, "split", str(group)))
    chosen: set[GroupT] = set()
    for group in order:
        if sizes[group] <= remaining and len(chosen) < len(sizes) - 1:
            chosen.add(group)
            remaining -= sizes[group]
    return frozenset(chosen or {min(order, key=lambda group: sizes[group])})
