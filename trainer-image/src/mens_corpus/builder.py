"""The whole build: sources to a folder that can be published, with all facts for its manifest.

collect each source -> decide over all rows -> write -> check the accounting -> draft
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from mens.api import corpus, reasons
from mens.artifacts import digests, manifests
from mens.provenance import licenses
from mens_corpus import (
    accounting,
    collector,
    compliance,
    errors,
    fingerprint,
    jsonl,
    license_detection,
    quarantine,
    selection,
    spool,
)
from mens_corpus.readers import trees

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """A finished folder and the facts about it."""

    folder: Path
    """Holds exactly the files of the artifact, without its manifest."""
    draft: manifests.Manifest
    """All facts but the files."""
    fingerprint: digests.Digest
    ledger: accounting.Ledger
    train: int
    validation: int


@dataclass(frozen=True)
class Surroundings:
    """What a build needs from outside.

    Args:
        open_tree: Opens a source; raises SourceMissing where there is none.
        table: License identities and classes.
        scratch: Empty folder for temporary files and the result.
        producer: Recorded in the manifest.
        report: Told how far the build is.
    """

    open_tree: Callable[[corpus.Source], trees.Tree]
    table: licenses.Table
    scratch: Path
    producer: str
    report: collector.Report


def build(name: str, spec: corpus.MensCorpusSpec, around: Surroundings) -> Built:
    """Build a corpus into `around.scratch / "artifact"`.

    Raises:
        InputWrong: If a source does not exist, or no row is left.
        Trouble: If the network or the store fails.
        UnbalancedError: If candidates were lost: a defect.
    """
    folder = around.scratch / "artifact"
    folder.mkdir(parents=True)
    ledger = accounting.Ledger([source.name for source in spec.sources])
    with (
        quarantine.Quarantine(around.scratch / "quarantine.jsonl") as rejects,
        spool.Spool(around.scratch / "rows.jsonl") as rows,
    ):
        gathering = collector.Collector(spec, around.table, ledger, rows, rejects, around.report)
        collected = _collected(spec, gathering, around)
        around.report("Deciding", 0, 0, sum(len(item.rows) for item in collected))
        spooled = [row for item in collected for row in item.rows]
        decision = selection.decide(spec, spooled, ledger)
        ledger.check()
        _require_rows(spec, decision, ledger, gathering.doubt)
        around.report("Writing", 0, 0, len(decision.train) + len(decision.validation))
        for stem in (selection.TRAIN, selection.VALIDATION):
            lines = rows.lines(getattr(decision, stem))
            jsonl.write_lines(folder / f"{stem}.jsonl.zst", lines)
        rejects.write(folder)
    return _built(name, spec, around, folder, _Parts(collected, decision, ledger))


def _collected(
    spec: corpus.MensCorpusSpec, gathering: collector.Collector, around: Surroundings
) -> list[collector.Collected]:
    found: list[collector.Collected] = []
    for order, source in enumerate(spec.sources):
        try:
            with contextlib.closing(around.open_tree(source)) as tree:
                found.append(gathering.collect(order, source, tree))
        except errors.SourceMissing as e:
            if not source.optional:
                raise errors.SourceMissing(e.reason, f"source {source.name}: {e}") from e
            log.warning("optional source %s is left out: %s", source.name, e)
            gathering.ledger[source.name].skipped = e.reason
    return found


def _require_rows(
    spec: corpus.MensCorpusSpec, decision: selection.Decision, ledger: accounting.Ledger, doubt: str
) -> None:
    """Raise unless there are rows to train on and, where they are wanted, held-out ones."""
    if not decision.train:
        raise _empty(ledger, doubt)
    if not decision.validation and Decimal(spec.split.validation_fraction) > 0:
        raise errors.InputWrong(
            reasons.NO_VALIDATION_ROWS,
            f"all {len(decision.train)} rows come from one document, so none can be held out; add "
            "documents to sources",
        )


def _empty(ledger: accounting.Ledger, doubt: str) -> errors.InputWrong:
    """Return the error for a corpus without rows: a license is to blame before anything else."""
    quarantined = accounting.Fate.QUARANTINED
    unknown = ledger.total(quarantined, reasons.LICENSE_UNKNOWN)
    forbidden = ledger.total(quarantined, reasons.LICENSE_NOT_ALLOWED)
    if unknown:
        return errors.InputWrong(
            reasons.LICENSE_UNKNOWN,
            f"no row is left: the license of {unknown} rows is unknown, first that of {doubt}",
        )
    if forbidden:
        return errors.InputWrong(
            reasons.LICENSE_NOT_ALLOWED,
            f"no row is left: the license class of {forbidden} rows is not allowed; choose other "
            "sources, or extend licensePolicy.allowClasses",
        )
    counts = ", ".join(
        f"{fate.value} {ledger.total(fate)}" for fate in accounting.Fate if ledger.total(fate)
    )
    return errors.InputWrong(
        reasons.EMPTY_CORPUS,
        f"no row is left ({counts or 'no source was read'}); correct sources, include or extract",
    )


@dataclass(frozen=True)
class _Parts:
    collected: Sequence[collector.Collected]
    decision: selection.Decision
    ledger: accounting.Ledger


def _built(
    name: str,
    spec: corpus.MensCorpusSpec,
    around: Surroundings,
    folder: Path,
    parts: _Parts,
) -> Built:
    """Write NOTICE and licenses, and draft the manifest."""
    sources = [(item.source.name, item.uri, str(item.digest)) for item in parts.collected]
    table = license_detection.identity(around.table)
    digest = fingerprint.fingerprint(spec, sources, table)
    train, validation = parts.decision.train, parts.decision.validation
    facts = compliance.comply(parts.collected, (*train, *validation), folder)
    draft = manifests.Manifest(
        kind=manifests.Kind.CORPUS,
        name=name,
        inputs=facts.inputs,
        compliance=facts.compliance,
        details={
            "fingerprint": str(digest),
            "rows": {"train": len(train), "validation": len(validation)},
            "accounting": parts.ledger.to_object(),
            "sources": [
                dict(zip(("name", "uri", "digest"), each, strict=True)) for each in sources
            ],
        },
        producer=manifests.Producer(image=around.producer, versions=fingerprint.versions()),
    )
    return Built(folder, draft, digest, parts.ledger, len(train), len(validation))
