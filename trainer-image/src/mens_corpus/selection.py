"""Which rows stay and on which side: duplicates, weights and split, over what all sources gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from mens.api import corpus
from mens_corpus import accounting, deduplicating, sampling, splitting, spool

TRAIN = "train"
"""Rows to train on: reason of an emitted row and stem of its file."""
VALIDATION = "validation"
"""Rows held out."""


@dataclass(frozen=True)
class Decision:
    """Rows of the dataset, each side in the order of row ids."""

    train: tuple[spool.Spooled, ...]
    validation: tuple[spool.Spooled, ...]


def decide(
    spec: corpus.MensCorpusSpec, spooled: Sequence[spool.Spooled], ledger: accounting.Ledger
) -> Decision:
    """Decide about every row and count it; the order of `spooled` does not matter."""
    unique = deduplicating.survivors(spooled)
    _settle_lost(spooled, unique, accounting.Fate.DEDUPLICATED, "Exact", ledger)
    kept = _sampled(spec, unique)
    _settle_lost(unique, kept, accounting.Fate.SAMPLED_OUT, "Weight", ledger)
    held_out = splitting.held_out(
        Counter(row.group for row in kept),
        fraction=Decimal(spec.split.validation_fraction),
        seed=spec.split.seed,
    )
    ordered = sorted(kept, key=lambda row: row.id)
    train = tuple(row for row in ordered if row.group not in held_out)
    validation = tuple(row for row in ordered if row.group in held_out)
    for row in train:
        ledger[row.source].settled(accounting.Fate.EMITTED, TRAIN)
    for row in validation:
        ledger[row.source].settled(accounting.Fate.EMITTED, VALIDATION)
    return Decision(train, validation)


def _sampled(spec: corpus.MensCorpusSpec, unique: Sequence[spool.Spooled]) -> list[spool.Spooled]:
    ids: dict[str, list[str]] = {source.name: [] for source in spec.sources}
    for row in unique:
        ids[row.source].append(row.id)
    weights = {source.name: Decimal(source.weight) for source in spec.sources}
    quotas = sampling.quotas({name: len(found) for name, found in ids.items()}, weights)
    stays = {
        name: sampling.sample(found, quotas[name], seed=spec.split.seed)
        for name, found in ids.items()
    }
    return [row for row in unique if row.id in stays[row.source]]


def _settle_lost(
    before: Sequence[spool.Spooled],
    after: Sequence[spool.Spooled],
    fate: accounting.Fate,
    reason: str,
    ledger: accounting.Ledger,
) -> None:
    lost = Counter(row.source for row in before)
    lost.subtract(Counter(row.source for row in after))
    for source, number in lost.items():
        if number:
            ledger[source].settled(fate, reason, number)
