"""One source: its tree becomes rows in the spool, every candidate accounted for."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from mens.api import corpus, reasons
from mens.artifacts import digests, manifests
from mens.provenance import licenses, notice
from mens_corpus import (
    accounting,
    errors,
    globs,
    license_detection,
    quarantine,
    rows,
    secrets,
    spool,
)
from mens_corpus.extractors import outcomes, registry
from mens_corpus.readers import prefetch, trees

log = logging.getLogger(__name__)

Report: TypeAlias = Callable[[str, int, int, int], None]
"""Told the stage, units done, units in all, and rows so far."""

SECRET_FOUND = "SecretFound"  # noqa: S105  # a reason's name
"""A row holds something that looks like a credential."""
TOO_LARGE = "TooLarge"
"""A document has more than `trees.DOCUMENT_LIMIT` bytes."""
NO_EXTRACTOR = "NoExtractor"
"""A pattern includes a document that no extractor of the source understands."""
NOTHING_FOUND = "NothingFound"
"""A document was read and holds nothing an extractor looks for."""

_PLACE = ("document", "line")
"""The metadata of a row that say where it is and quote nothing of it."""


@dataclass
class Collected:
    """What one source gave."""

    source: corpus.Source
    uri: str
    digest: digests.Digest
    """Over path and digest of all that was read, license files included."""
    rows: list[spool.Spooled] = field(default_factory=list)
    conclusions: dict[tuple[str, str], license_detection.Conclusion] = field(default_factory=dict)
    """By path and expression: the license of each document that gave a row."""
    notices: tuple[license_detection.Text, ...] = ()
    """NOTICE files of the source."""


@dataclass
class Collector:
    """What all sources share.

    Args:
        spec: The corpus.
        table: License identities and classes.
        ledger: Counts every candidate.
        spool: Takes the rows.
        quarantine: Takes what is set aside.
        report: Told how far it is.
    """

    spec: corpus.MensCorpusSpec
    table: licenses.Table
    ledger: accounting.Ledger
    spool: spool.Spool
    quarantine: quarantine.Quarantine
    report: Report
    doubt: str = ""
    """Of the first row whose license is unknown: where it is, and why."""

    def collect(self, order: int, source: corpus.Source, tree: trees.Tree) -> Collected:
        """Read a source; documents come in the order of their paths, however the tree lists them.

        Raises:
            SourceMissing: If the tree is empty.
            InputWrong: If no document of it is selected.
        """
        everything = sorted(tree.entries())
        chosen = [entry for entry in everything if self._chosen(source, entry)]
        if not chosen:
            raise errors.InputWrong(
                reasons.SOURCE_INVALID,
                f"none of the {len(everything)} files of source {source.name} is selected; correct "
                "include, exclude or extract",
            )
        hasher = digests.Hasher()
        kept = [entry for entry in everything if globs.selected(entry.path, (), source.exclude)]
        licenses = [entry for entry in kept if license_detection.is_license_file(entry.path)]
        texts = self._captured(tree, licenses, hasher)
        notices = [entry for entry in kept if notice.is_notice_file(entry.path)]
        collected = Collected(
            source, tree.uri, hasher.digest(), notices=self._captured(tree, notices, hasher)
        )
        _require_readable(source, collected.notices)
        concluder = license_detection.Concluder(texts, source.license, self.table)
        count = self.ledger[source.name]
        for number, (entry, data) in enumerate(prefetch.in_order(tree, chosen)):
            self.report("Reading", number, len(chosen), len(collected.rows))
            _note(hasher, entry, data)
            if data is None:
                self._set_aside(source, entry.path, _unread(entry))
                continue
            count.documents += 1
            count.size_bytes += len(data)
            self._document(order, collected, concluder, entry.path, data)
        collected.digest = hasher.digest()
        log.info(
            "source %s: %d documents, %d rows", source.name, count.documents, len(collected.rows)
        )
        return collected

    def _captured(
        self, tree: trees.Tree, entries: list[trees.Entry], hasher: digests.Hasher
    ) -> tuple[license_detection.Text, ...]:
        """Read license or NOTICE files; one that cannot be read must not count as absent."""
        found: list[license_detection.Text] = []
        for entry, data in prefetch.in_order(tree, entries):
            _note(hasher, entry, data)
            if data is None:
                found.append(license_detection.Text(entry.path, problem=_unread(entry).message))
            else:
                found.append(license_detection.captured(entry.path, data, self.table))
        return tuple(found)

    def _chosen(self, source: corpus.Source, entry: trees.Entry) -> bool:
        """Return whether to read a document; one that only a pattern names is accounted for."""
        if entry.link or not globs.selected(entry.path, source.include, source.exclude):
            return False
        if registry.understands(entry.path, source.extract):
            return True
        if source.include:
            self.ledger[source.name].entered()
            self.ledger[source.name].settled(accounting.Fate.FILTERED, NO_EXTRACTOR)
        return False

    def _document(
        self,
        order: int,
        collected: Collected,
        concluder: license_detection.Concluder,
        path: str,
        data: bytes,
    ) -> None:
        source = collected.source
        count = self.ledger[source.name]
        conclusion = concluder.conclude(path, data)
        found = False
        for outcome in registry.extract(
            path, data, source.extract, max_characters=source.max_characters
        ):
            found = True
            if isinstance(outcome, outcomes.Broken):
                self._set_aside(source, path, outcome)
                continue
            count.entered()
            if isinstance(outcome, outcomes.Filtered):
                count.settled(accounting.Fate.FILTERED, outcome.reason)
                continue
            row = _row(outcome, source.name, path, data, conclusion)
            if not self._is_refused(row, conclusion):
                collected.conclusions.setdefault((path, conclusion.expression), conclusion)
                collected.rows.append(self.spool.add(row, order=order))
        if not found:
            count.entered()
            count.settled(accounting.Fate.FILTERED, NOTHING_FOUND)

    def _is_refused(self, row: rows.Row, conclusion: license_detection.Conclusion) -> bool:
        """Quarantine a row that must not enter; for its license before anything else."""
        allowed = {item.value for item in self.spec.license_policy.allow_classes}
        found = conclusion.license_class
        if found is manifests.LicenseClass.UNKNOWN:
            reason, message = reasons.LICENSE_UNKNOWN, conclusion.doubt
            self.doubt = self.doubt or f"{row.path} of source {row.source}: {message}"
        elif found.value not in allowed:
            reason = reasons.LICENSE_NOT_ALLOWED
            message = f"license {conclusion.expression} is of class {found.value}"
        elif kind := secrets.find(f"{row.prompt}\n{row.response}"):
            reason, message = SECRET_FOUND, kind
        else:
            return False
        self.ledger[row.source].settled(accounting.Fate.QUARANTINED, reason)
        self.quarantine.add(row.source, row.path, reason, message, _place(row))
        return True

    def _set_aside(self, source: corpus.Source, path: str, broken: outcomes.Broken) -> None:
        self.ledger[source.name].entered()
        self.ledger[source.name].settled(accounting.Fate.QUARANTINED, broken.reason)
        place = {"line": broken.line, "column": broken.column}
        self.quarantine.add(source.name, path, broken.reason, broken.message, place)


def _place(row: rows.Row) -> dict[str, str | int]:
    """Where the row's text is to be found; a heading or a name is text, and may be the secret."""
    return {key: row.metadata[key] for key in _PLACE if key in row.metadata}


def _row(
    draft: outcomes.Draft,
    source: str,
    path: str,
    data: bytes,
    conclusion: license_detection.Conclusion,
) -> rows.Row:
    metadata = {
        **draft.metadata,
        "document": hashlib.sha256(data).hexdigest()[:16],
        "license_evidence": conclusion.evidence.value,
    }
    return rows.Row(
        prompt=draft.prompt,
        response=draft.response,
        lane=draft.shape.lane,
        category=draft.shape.category,
        task_family=draft.shape.task_family,
        source=source,
        path=path,
        license=conclusion.expression,
        metadata=metadata,
    )


def _require_readable(source: corpus.Source, notices: tuple[license_detection.Text, ...]) -> None:
    """Raise if a NOTICE file cannot be carried along, as licenses such as Apache-2.0 demand."""
    for text in notices:
        if text.problem:
            raise errors.InputWrong(
                reasons.SOURCE_INVALID,
                f"source {source.name}: {text.path} cannot be read ({text.problem}), so it cannot "
                "travel with the rows; correct it, or name it in exclude if it does not apply",
            )


def _note(hasher: digests.Hasher, entry: trees.Entry, data: bytes | None) -> None:
    said = _unread(entry).message if data is None else hashlib.sha256(data).hexdigest()
    hasher.update(f"{entry.path}\0{said}\n".encode())


def _unread(entry: trees.Entry) -> outcomes.Broken:
    if entry.refused:
        return outcomes.Broken(reasons.NAME_REFUSED, entry.refused)
    return outcomes.Broken(TOO_LARGE, f"more than {trees.DOCUMENT_LIMIT} bytes")
