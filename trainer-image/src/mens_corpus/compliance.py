"""What the dataset's use obliges to, joined over the documents that its rows come from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mens.artifacts import digests, manifests
from mens.provenance import expressions, licenses, notice, obligations
from mens_corpus import collector, license_detection, spool

log = logging.getLogger(__name__)

TITLE: Final = "This dataset"
"""Heads NOTICE in the place of the corpus's name, which is no part of the fingerprint: equal
fingerprints mean equal files. The manifest has the name."""


@dataclass(frozen=True)
class Facts:
    """What the manifest says about origin and license."""

    inputs: tuple[manifests.Input, ...]
    compliance: manifests.Compliance


def table() -> licenses.Table:
    """Return the reviewed licenses."""
    return licenses.builtin()


def comply(
    collected: Sequence[collector.Collected],
    rows: Sequence[spool.Spooled],
    folder: Path,
) -> Facts:
    """Join the licenses of all emitted rows and write NOTICE and LICENSES/ into the folder.

    A source without an emitted row is no input: nothing of it is in the dataset.
    """
    emitted = {(row.source, row.path, row.license) for row in rows}
    inputs: list[manifests.Input] = []
    parents: list[manifests.Compliance] = []
    texts: dict[digests.Digest, bytes] = {}
    notices: list[notice.Quoted] = []
    for item in collected:
        source = item.source.name
        used = _used(item, emitted)
        if not used:
            continue
        inputs.append(_input(item, used))
        for conclusion in used:
            texts |= {text.digest: text.data for text in conclusion.texts}
            held = [text.data for text in conclusion.texts]
            parents.append(obligations.of(conclusion.found, held))
            if not held:
                log.warning("source %s: no text of %s was found", source, conclusion.expression)
        notices += [notice.Quoted(text.path, source, text.data) for text in item.notices]
    joined = obligations.join(parents)
    files = notice.assemble(TITLE, joined, texts, inputs=inputs, quoted=notices)
    notice.write(folder, files)
    return Facts(tuple(inputs), joined)


def _used(
    item: collector.Collected, emitted: set[tuple[str, str, str]]
) -> list[license_detection.Conclusion]:
    """Return the distinct conclusions behind a source's emitted rows, in a fixed order."""
    found: dict[tuple[str, tuple[str, ...]], license_detection.Conclusion] = {}
    for (path, expression), conclusion in item.conclusions.items():
        if (item.source.name, path, expression) in emitted:
            found[expression, tuple(text.path for text in conclusion.texts)] = conclusion
    return [found[key] for key in sorted(found)]


def _input(
    item: collector.Collected, used: Sequence[license_detection.Conclusion]
) -> manifests.Input:
    return manifests.Input(
        role=manifests.Role.SOURCE,
        name=item.source.name,
        uri=item.uri,
        digest=item.digest,
        license_expression=expressions.conjunction(tuple(each.expression for each in used)),
    )
