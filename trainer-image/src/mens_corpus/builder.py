"""Build a corpus: from its sources to a folder that can be published, and its manifest.

run the pipeline of each source -> select rows -> check the accounting -> write -> draft manifest
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
from mens.runtime import errors
from mens_corpus import (
    accounting,
    compliance,
    fingerprint,
    jsonl,
    license_detection,
    quarantine,
    selection,
    source_pipeline,
    spool,
)
from mens_corpus.readers import base

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildResult:
    """A complete folder and the facts about it."""

    folder: Path
    """Contains exactly the files of the artifact, without its manifest."""
    draft: manifests.Manifest
    """The manifest without its list of files."""
    fingerprint: digests.Digest
    counters: accounting.Counters
    train_rows: int
    """Number of rows in the training split."""
    validation_rows: int
    """Number of rows in the validation split."""


@dataclass(frozen=True)
class BuildContext:
    """Dependencies of a build.

    Args:
        open_reader: Opens a source; raises SourceNotFoundError if it does not exist.
        license_table: License identities and classes.
        scratch: Empty folder for temporary files and the result.
        producer: Image name that the manifest records.
        report_progress: Called with the progress of the build.
    """

    open_reader: Callable[[corpus.Source], base.Reader]
    license_table: licenses.Table
    scratch: Path
    producer: str
    report_progress: source_pipeline.ReportProgress


def build(name: str, spec: corpus.MensCorpusSpec, context: BuildContext) -> BuildResult:
    """Build a corpus into `context.scratch / "artifact"`.

    Raises:
        InvalidInputError: If a source does not exist, or the dataset would be empty.
        StorageError: If the network or the store fails.
        UnbalancedError: If candidates were lost: a defect.
    """
    folder = context.scratch / "artifact"
    folder.mkdir(parents=True)
    counters = accounting.Counters([source.name for source in spec.sources])
    with (
        quarantine.Quarantine(context.scratch / "quarantine.jsonl") as quarantined,
        spool.Spool(context.scratch / "rows.jsonl") as spooled,
    ):
        pipeline = source_pipeline.SourcePipeline(
            spec, context.license_table, counters, spooled, quarantined, context.report_progress
        )
        sources = _run_sources(spec, pipeline, context)
        rows = [row for source in sources for row in source.rows]
        context.report_progress("Deciding", 0, 0, len(rows))
        selected = selection.select(spec, rows, counters)
        counters.check_balance()
        _require_rows(spec, selected, counters, pipeline.first_unknown_license)
        total = len(selected.train) + len(selected.validation)
        context.report_progress("Writing", 0, 0, total)
        for stem in (selection.TRAIN, selection.VALIDATION):
            lines = spooled.lines(getattr(selected, stem))
            jsonl.write_lines(folder / f"{stem}.jsonl.zst", lines)
        quarantined.write(folder)
    return _finish(name, spec, context, folder, _Parts(sources, selected, counters))


def _run_sources(
    spec: corpus.MensCorpusSpec,
    pipeline: source_pipeline.SourcePipeline,
    context: BuildContext,
) -> list[source_pipeline.SourceResult]:
    found: list[source_pipeline.SourceResult] = []
    for order, source in enumerate(spec.sources):
        try:
            with contextlib.closing(context.open_reader(source)) as reader:
                found.append(pipeline.run(order, source, reader))
        except base.SourceNotFoundError as e:
            if not source.optional:
                raise base.SourceNotFoundError(e.reason, f"source {source.name}: {e}") from e
            log.warning("skipping optional source %s: %s", source.name, e)
            pipeline.counters[source.name].skipped = e.reason
    return found


def _require_rows(
    spec: corpus.MensCorpusSpec,
    selected: selection.Selection,
    counters: accounting.Counters,
    first_unknown_license: str,
) -> None:
    """Raise unless both splits have rows; the validation split may be disabled."""
    if not selected.train:
        raise _empty_corpus(counters, first_unknown_license)
    if not selected.validation and Decimal(spec.split.validation_fraction) > 0:
        raise errors.InvalidInputError(
            reasons.NO_VALIDATION_ROWS,
            f"all {len(selected.train)} rows come from one document, so the validation split is "
            "empty; add documents to sources",
        )


def _empty_corpus(
    counters: accounting.Counters, first_unknown_license: str
) -> errors.InvalidInputError:
    """Return the error for a corpus without rows; licenses are the first cause to report."""
    quarantined = accounting.Outcome.QUARANTINED
    unknown = counters.total(quarantined, reasons.LICENSE_UNKNOWN)
    not_allowed = counters.total(quarantined, reasons.LICENSE_NOT_ALLOWED)
    if unknown:
        return errors.InvalidInputError(
            reasons.LICENSE_UNKNOWN,
            f"the dataset is empty: the license of {unknown} rows is unknown. First row: "
            f"{first_unknown_license}",
        )
    if not_allowed:
        return errors.InvalidInputError(
            reasons.LICENSE_NOT_ALLOWED,
            f"the dataset is empty: licensePolicy.allowClasses does not allow the license class of "
            f"{not_allowed} rows; choose other sources, or extend allowClasses",
        )
    counts = ", ".join(
        f"{outcome.value} {counters.total(outcome)}"
        for outcome in accounting.Outcome
        if counters.total(outcome)
    )
    return errors.InvalidInputError(
        reasons.EMPTY_CORPUS,
        f"the dataset is empty ({counts or 'no source was read'}); correct sources, include or "
        "extract",
    )


@dataclass(frozen=True)
class _Parts:
    sources: Sequence[source_pipeline.SourceResult]
    selected: selection.Selection
    counters: accounting.Counters


def _finish(
    name: str,
    spec: corpus.MensCorpusSpec,
    context: BuildContext,
    folder: Path,
    parts: _Parts,
) -> BuildResult:
    """Write NOTICE and LICENSES/, and draft the manifest."""
    sources = [(item.source.name, item.uri, str(item.digest)) for item in parts.sources]
    table = license_detection.table_digest(context.license_table)
    digest = fingerprint.fingerprint(spec, sources, table)
    train, validation = parts.selected.train, parts.selected.validation
    provenance = compliance.write_legal_files(parts.sources, (*train, *validation), folder)
    draft = manifests.Manifest(
        kind=manifests.Kind.CORPUS,
        name=name,
        inputs=provenance.inputs,
        compliance=provenance.compliance,
        details={
            "fingerprint": str(digest),
            "rows": {"train": len(train), "validation": len(validation)},
            "accounting": parts.counters.to_object(),
            "sources": [
                dict(zip(("name", "uri", "digest"), each, strict=True)) for each in sources
            ],
        },
        producer=manifests.Producer(image=context.producer, versions=fingerprint.versions()),
    )
    return BuildResult(folder, draft, digest, parts.counters, len(train), len(validation))
