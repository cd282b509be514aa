"""The licence of each document, by the strongest evidence there is.

SPDX header of the file, else the nearest licence file of the source (known by the hash of its
text), else what the source declares, else unknown. A licence file whose text nobody reviewed
proves nothing by itself: with a declaration the declaration counts and the text travels along.
A text that is known and a declaration that disagree conclude nothing, which blocks.
"""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from mens.artifacts import digests, manifests
from mens.provenance import expressions, licences, texts

HEADER_BYTES: Final = 4096
"""An SPDX header stands at the top; further down it is an example in documentation."""
TEXT_LIMIT: Final = 512 * 1024
"""Bytes of a licence file; the longest real one (a bundle of notices) has about 100 KB."""

_REUSE: Final = re.compile(r"LICENSES/[^/]+\.txt")
_HEADER: Final = re.compile(
    rb"^[^\w\n]{0,8}SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+()][A-Za-z0-9.+() :-]{0,254})", re.M
)


class Evidence(enum.StrEnum):
    """How a licence was concluded."""

    HEADER = "Header"
    """An SPDX identifier at the top of the document."""
    FILE = "File"
    """The text of the nearest licence file."""
    DECLARED = "Declared"
    """The declaration in the spec of the source."""
    NONE = "None"
    """Nothing; the rows are quarantined."""


@dataclass(frozen=True, slots=True)
class Text:
    """A licence or NOTICE file of a source, as it was found."""

    path: str
    """Where it lies in the source."""
    data: bytes
    row: licences.Row | None = None
    """What the table says it is."""

    @property
    def digest(self) -> digests.Digest:
        """SHA-256 of the captured bytes."""
        return digests.Digest.of_bytes(self.data)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The licence of a document, why, and the texts that say so."""

    found: licences.Conclusion
    evidence: Evidence
    texts: tuple[Text, ...] = ()

    @property
    def expression(self) -> str:
        """SPDX expression, NOASSERTION where unknown."""
        return self.found.expression

    @property
    def license_class(self) -> manifests.LicenseClass:
        """The class that asks most; Unknown where unknown."""
        return self.found.license_class


def is_license_file(path: str) -> bool:
    """Return whether a path names a licence text: LICENSE, COPYING.txt or LICENSES/MIT.txt."""
    return texts.is_licence_file(path) or bool(_REUSE.fullmatch(path))


def is_notice_file(path: str) -> bool:
    """Return whether a path names a NOTICE file, whose text travels with the work."""
    return posixpath.basename(path).lower() in {"notice", "notice.txt", "notice.md"}


def captured(files: Iterable[tuple[str, bytes]], table: licences.Table) -> tuple[Text, ...]:
    """Identify licence files, given as path and bytes."""
    return tuple(
        Text(path, data, licences.identify(data, table))
        for path, data in files
        if len(data) <= TEXT_LIMIT
    )


class Concluder:
    """Concludes licences of one source's documents.

    Args:
        held: The source's licence files.
        declared: The declaration in the spec.
        table: Identities and classes.
    """

    def __init__(self, held: Iterable[Text], declared: str | None, table: licences.Table) -> None:
        self._declared = declared
        self._table = table
        self._held = {text.path: text for text in sorted(held, key=lambda text: text.path)}
        self._memory: dict[tuple[str | None, str], Conclusion] = {}

    def conclude(self, path: str, data: bytes) -> Conclusion:
        """Return the licence of one document; one folder and header are asked about once."""
        key = (header(path, data), posixpath.dirname(path))
        if key not in self._memory:
            self._memory[key] = self._concluded(key[0], path)
        return self._memory[key]

    def _concluded(self, said: str | None, path: str) -> Conclusion:
        if said:
            found = licences.declare(said, self._table)
            return Conclusion(found, Evidence.HEADER, tuple(self._named(found, path)))
        nearest = tuple(self._held[name] for name in texts.nearest(path, self._held))
        detected = [text.row for text in nearest if text.row]
        if detected and len(detected) == len(nearest):
            each = [licences.conclude(self._declared, row, self._table) for row in detected]
            return Conclusion(_together(each), Evidence.FILE, nearest)
        if self._declared:
            found = licences.declare(self._declared, self._table)
            fitting = tuple(text for text in nearest if not text.row or text.row in found.rows)
            return Conclusion(found, Evidence.DECLARED, fitting)
        return Conclusion(licences.conclude(None, None, self._table), Evidence.NONE)

    def _named(self, found: licences.Conclusion, path: str) -> Iterator[Text]:
        """Yield the texts of a header's licences: in a folder above, or in LICENSES/ (REUSE)."""
        folders = {str(folder) for folder in PurePosixPath(path).parents} | {"LICENSES"}
        for text in self._held.values():
            if text.row in found.rows and str(PurePosixPath(text.path).parent) in folders:
                yield text


def _together(each: list[licences.Conclusion]) -> licences.Conclusion:
    """Join what several licence files side by side say: they may mean "or", "and" is safe."""
    doubtful = next((one for one in each if not one.known), None)
    if doubtful or len(each) == 1:
        return doubtful or each[0]
    rows = {row.id: row for one in each for row in one.rows}
    return licences.Conclusion(
        expressions.conjunction(tuple(one.expression for one in each)),
        tuple(rows[name] for name in sorted(rows)),
        "",
        "; ".join(sorted({one.message for one in each})),
    )


def header(path: str, data: bytes) -> str | None:
    """Return the SPDX expression at the top of a document; in Markdown only within a comment."""
    top = data[:HEADER_BYTES]
    match = _HEADER.search(top)
    if match is None:
        return None
    before = top[: match.start(1)]
    commented = before.count(b"<!--") > before.count(b"-->")
    if path.lower().endswith((".md", ".markdown")) and not commented:
        return None
    return " ".join(match[1].decode().removesuffix("--").split()) or None


def identity(table: licences.Table) -> str:
    """Return a digest of a table: another one may conclude otherwise."""
    return str(digests.Digest.of_bytes("\n".join(sorted(map(repr, table.rows))).encode()))
