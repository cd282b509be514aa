"""License obligations of the dataset: its NOTICE, its license texts and its compliance record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mens.artifacts import digests, manifests
from mens.provenance import expressions, licenses, notice, obligations
from mens_corpus import license_detection, source_pipeline, spool

log = logging.getLogger(__name__)

TITLE: Final = "This dataset"
"""Title of NOTICE. It is not the name of the corpus, because the name is not part of the
fingerprint, and equal fingerprints mean equal files. The manifest has the name."""


@dataclass(frozen=True)
class Provenance:
    """Inputs and license obligations of the dataset, as the manifest records them."""

    inputs: tuple[manifests.Input, ...]
    compliance: manifests.Compliance


def license_table() -> licenses.Table:
    """Return the table of reviewed licenses."""
    return licenses.builtin()


def write_legal_files(
    sources: Sequence[source_pipeline.SourceResult],
    rows: Sequence[spool.SpooledRow],
    folder: Path,
) -> Provenance:
    """Join the obligations of all emitted rows; write NOTICE and LICENSES/ into the folder.

    A source without an emitted row is not an input: the dataset contains nothing of it.
    """
    emitted = {(row.source, row.path, row.license) for row in rows}
    inputs: list[manifests.Input] = []
    parents: list[manifests.Compliance] = []
    texts: dict[digests.Digest, bytes] = {}
    notices: list[notice.Quoted] = []
    for item in sources:
        source = item.source.name
        used = _used_licenses(item, emitted)
        if not used:
            continue
        inputs.append(_input(item, used))
        for detected in used:
            texts |= {file.digest: file.data for file in detected.files}
            license_texts = [file.data for file in detected.files]
            parents.append(obligations.of(detected.conclusion, license_texts))
            if not license_texts:
                log.warning("source %s has no license file for %s", source, detected.expression)
        notices += [notice.Quoted(file.path, source, file.data) for file in item.notices]
    joined = obligations.join(parents)
    files = notice.assemble(TITLE, joined, texts, inputs=inputs, quoted=notices)
    notice.write(folder, files)
    return Provenance(tuple(inputs), joined)


def _used_licenses(
    item: source_pipeline.SourceResult, emitted: set[tuple[str, str, str]]
) -> list[license_detection.DetectedLicense]:
    """Return the distinct licenses of a source's emitted rows, in a fixed order."""
    found: dict[tuple[str, tuple[str, ...]], license_detection.DetectedLicense] = {}
    for (path, expression), detected in item.detected.items():
        if (item.source.name, path, expression) in emitted:
            found[expression, tuple(file.path for file in detected.files)] = detected
    return [found[key] for key in sorted(found)]


def _input(
    item: source_pipeline.SourceResult, used: Sequence[license_detection.DetectedLicense]
) -> manifests.Input:
    return manifests.Input(
        role=manifests.Role.SOURCE,
        name=item.source.name,
        uri=item.uri,
        digest=item.digest,
        license_expression=expressions.conjunction(tuple(each.expression for each in used)),
    )
