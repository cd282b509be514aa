"""The pipeline of one source: read, extract, detect the license, scan for secrets, spool.

Every candidate is counted: it becomes a spooled row, or it is filtered or quarantined.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from mens.api import corpus, reasons
from mens.artifacts import digests, manifests
from mens.provenance import licenses, notice
from mens.runtime import errors
from mens_corpus import (
    accounting,
    globs,
    license_detection,
    quarantine,
    rows,
    secrets,
    spool,
)
from mens_corpus.extractors import registry, results
from mens_corpus.readers import base

log = logging.getLogger(__name__)

ReportProgress: TypeAlias = Callable[[str, int, int, int], None]
"""Called with the stage, completed units, total units, and the number of rows so far."""

SECRET_FOUND = "SecretFound"  # noqa: S105  # a reason's name
"""A row contains text that looks like a credential."""
TOO_LARGE = "TooLarge"
"""A document exceeds `base.DOCUMENT_LIMIT`."""
NO_EXTRACTOR = "NoExtractor"
"""A pattern in `include` selects a document that no extractor of the source supports."""
NOTHING_FOUND = "NothingFound"
"""A document was read, and no extractor found a candidate in it."""

_LOCATION = ("document", "line")
"""Metadata of a row that locate it without a quotation from it."""
_DIGEST_OF_BROKEN_LINK: Final = "a symbolic link that leads to no file of the source"
_DIGEST_OF_TOO_LARGE: Final = f"more than {base.DOCUMENT_LIMIT} bytes"
"""Stand for the bytes of unreadable documents in the digest of a source. The fingerprint depends on
them, so they stay as they are when messages are reworded."""


@dataclass
class SourceResult:
    """The rows of one source, and the facts about it for the manifest."""

    source: corpus.Source
    uri: str
    digest: digests.Digest
    """Over path and digest of every document that was read, license files included."""
    rows: list[spool.SpooledRow] = field(default_factory=list)
    detected: dict[tuple[str, str], license_detection.DetectedLicense] = field(default_factory=dict)
    """By path and expression: the license of each document with at least one row."""
    notices: tuple[license_detection.LegalFile, ...] = ()
    """NOTICE files of the source."""


@dataclass
class SourcePipeline:
    """Runs the sources of one corpus, one at a time.

    Args:
        spec: The corpus.
        license_table: License identities and classes.
        counters: Counts every candidate.
        spool: Receives the rows.
        quarantine: Receives the quarantined candidates.
        report_progress: Called for each document.
    """

    spec: corpus.MensCorpusSpec
    license_table: licenses.Table
    counters: accounting.Counters
    spool: spool.Spool
    quarantine: quarantine.Quarantine
    report_progress: ReportProgress
    first_unknown_license: str = ""
    """Location and cause of the first row whose license is unknown; empty without one."""

    def run(self, order: int, source: corpus.Source, reader: base.Reader) -> SourceResult:
        """Process a source; documents are sorted by path, in whatever order the reader lists them.

        Args:
            order: Index of the source in the spec; duplicates in earlier sources are kept.
            source: The source.
            reader: Reads its documents.

        Raises:
            SourceNotFoundError: If the source is empty.
            InvalidInputError: If no document is selected, or a NOTICE file cannot be read.
        """
        listed = sorted(reader.documents())
        selected = [document for document in listed if self._is_selected(source, document)]
        if not selected:
            raise errors.InvalidInputError(
                reasons.SOURCE_INVALID,
                f"source {source.name}: none of its {len(listed)} files is selected; correct "
                "include, exclude or extract",
            )
        hasher = digests.Hasher()
        kept = [item for item in listed if globs.matches(item.path, (), source.exclude)]
        license_files = [item for item in kept if license_detection.is_license_file(item.path)]
        texts = self._read_legal_files(reader, license_files, hasher)
        notice_files = [item for item in kept if notice.is_notice_file(item.path)]
        notices = self._read_legal_files(reader, notice_files, hasher)
        result = SourceResult(source, reader.uri, hasher.digest(), notices=notices)
        _require_readable(source, notices)
        detector = license_detection.LicenseDetector(texts, source.license, self.license_table)
        counters = self.counters[source.name]
        for number, (document, data) in enumerate(base.read_ahead(reader, selected)):
            self.report_progress("Reading", number, len(selected), len(result.rows))
            _update_digest(hasher, document, data)
            if data is None:
                self._quarantine_invalid(source, document.path, _unreadable(document))
                continue
            counters.documents += 1
            counters.size_bytes += len(data)
            self._process_document(order, result, detector, document.path, data)
        result.digest = hasher.digest()
        log.info(
            "source %s: %d documents, %d rows", source.name, counters.documents, len(result.rows)
        )
        return result

    def _read_legal_files(
        self, reader: base.Reader, documents: list[base.Document], hasher: digests.Hasher
    ) -> tuple[license_detection.LegalFile, ...]:
        """Read license or NOTICE files; an unreadable one must not count as absent."""
        found: list[license_detection.LegalFile] = []
        for document, data in base.read_ahead(reader, documents):
            _update_digest(hasher, document, data)
            if data is None:
                problem = _unreadable(document).message
                found.append(license_detection.LegalFile(document.path, problem=problem))
            else:
                file = license_detection.identify(document.path, data, self.license_table)
                found.append(file)
        return tuple(found)

    def _is_selected(self, source: corpus.Source, document: base.Document) -> bool:
        """Return whether to read a document; counts one that only a pattern selects."""
        if document.link or not globs.matches(document.path, source.include, source.exclude):
            return False
        if registry.supports(document.path, source.extract):
            return True
        if source.include:
            counters = self.counters[source.name]
            counters.add_candidates()
            counters.add_outcome(accounting.Outcome.FILTERED, NO_EXTRACTOR)
        return False

    def _process_document(
        self,
        order: int,
        result: SourceResult,
        detector: license_detection.LicenseDetector,
        path: str,
        data: bytes,
    ) -> None:
        source = result.source
        counters = self.counters[source.name]
        detected = detector.detect(path, data)
        found = False
        for extracted in registry.extract(
            path, data, source.extract, max_characters=source.max_characters
        ):
            found = True
            if isinstance(extracted, results.Invalid):
                self._quarantine_invalid(source, path, extracted)
                continue
            counters.add_candidates()
            if isinstance(extracted, results.Filtered):
                counters.add_outcome(accounting.Outcome.FILTERED, extracted.reason)
                continue
            row = _row(extracted, source.name, path, data, detected)
            if not self._quarantine_row(row, detected):
                result.detected.setdefault((path, detected.expression), detected)
                result.rows.append(self.spool.add(row, order=order))
        if not found:
            counters.add_candidates()
            counters.add_outcome(accounting.Outcome.FILTERED, NOTHING_FOUND)

    def _quarantine_row(self, row: rows.Row, detected: license_detection.DetectedLicense) -> bool:
        """Quarantine a row for its license or a secret; returns whether it is quarantined."""
        allowed = {item.value for item in self.spec.license_policy.allow_classes}
        license_class = detected.license_class
        if license_class is manifests.LicenseClass.UNKNOWN:
            reason, message = reasons.LICENSE_UNKNOWN, detected.problem
            location = f"{row.path} of source {row.source}: {message}"
            self.first_unknown_license = self.first_unknown_license or location
        elif license_class.value not in allowed:
            reason = reasons.LICENSE_NOT_ALLOWED
            message = f"license {detected.expression} is of class {license_class.value}"
        elif kind := secrets.find(f"{row.prompt}\n{row.response}"):
            reason, message = SECRET_FOUND, kind
        else:
            return False
        self.counters[row.source].add_outcome(accounting.Outcome.QUARANTINED, reason)
        self.quarantine.add(row.source, row.path, reason, message, _location(row))
        return True

    def _quarantine_invalid(
        self, source: corpus.Source, path: str, invalid: results.Invalid
    ) -> None:
        counters = self.counters[source.name]
        counters.add_candidates()
        counters.add_outcome(accounting.Outcome.QUARANTINED, invalid.reason)
        location = {"line": invalid.line, "column": invalid.column}
        self.quarantine.add(source.name, path, invalid.reason, invalid.message, location)


def _location(row: rows.Row) -> dict[str, str | int]:
    """Return where the row's text is; without heading or name, which may contain the secret."""
    return {key: row.metadata[key] for key in _LOCATION if key in row.metadata}


def _row(
    extracted: results.Extracted,
    source: str,
    path: str,
    data: bytes,
    detected: license_detection.DetectedLicense,
) -> rows.Row:
    metadata = {
        **extracted.metadata,
        "document": hashlib.sha256(data).hexdigest()[:16],
        "license_evidence": detected.evidence.value,
    }
    return rows.Row(
        prompt=extracted.prompt,
        response=extracted.response,
        lane=extracted.labels.lane,
        category=extracted.labels.category,
        task_family=extracted.labels.task_family,
        source=source,
        path=path,
        license=detected.expression,
        metadata=metadata,
    )


def _require_readable(
    source: corpus.Source, notices: tuple[license_detection.LegalFile, ...]
) -> None:
    """Raise if a NOTICE file is unreadable: licenses such as Apache-2.0 require a copy of it."""
    for file in notices:
        if file.problem:
            raise errors.InvalidInputError(
                reasons.SOURCE_INVALID,
                f"source {source.name}: {file.path} cannot be read ({file.problem}), so the "
                "dataset cannot include it; correct the file, or add it to exclude if it does not "
                "apply",
            )


def _update_digest(hasher: digests.Hasher, document: base.Document, data: bytes | None) -> None:
    if data is not None:
        content = hashlib.sha256(data).hexdigest()
    elif document.unreadable == base.BROKEN_LINK:
        content = _DIGEST_OF_BROKEN_LINK
    else:
        content = reasons.NAME_REFUSED if document.unreadable else _DIGEST_OF_TOO_LARGE
    hasher.update(f"{document.path}\0{content}\n".encode())


def _unreadable(document: base.Document) -> results.Invalid:
    if document.unreadable:
        return results.Invalid(reasons.NAME_REFUSED, document.unreadable)
    return results.Invalid(TOO_LARGE, f"more than {base.DOCUMENT_LIMIT} bytes")
