"""Detect the license of each document from the strongest evidence available.

In this order: SPDX headers of the document; the nearest license file of the source, identified by
the hash of its text; the declaration in the spec; otherwise unknown. A license file with an
unreviewed text proves nothing by itself: with a declaration, the declaration applies, and the
dataset includes the text as LicenseRef-Unreviewed-…. An identified text that contradicts the
declaration makes the license unknown, which blocks the rows. So does an unreadable license file,
since the dataset cannot include its text.
"""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from mens.artifacts import digests, manifests
from mens.provenance import expressions, license_texts, licenses
from mens_corpus import spdx_headers

TEXT_LIMIT: Final = 512 * 1024
"""Maximum bytes of a license file that is compared with the table; a larger one is unknown. The
largest known one (a bundle of notices) has about 100 KB."""

_REUSE: Final = re.compile(r"LICENSES/[^/]+\.txt")


class Evidence(enum.StrEnum):
    """The evidence for a detected license; the value of a row's `license_evidence`."""

    HEADER = "Header"
    """An SPDX identifier at the top of the document."""
    FILE = "File"
    """The text of the nearest license file."""
    DECLARED = "Declared"
    """The declaration in the spec of the source."""
    NONE = "None"
    """No evidence; the rows are quarantined."""


@dataclass(frozen=True, slots=True)
class LegalFile:
    """A license or NOTICE file of a source."""

    path: str
    """Path within the source."""
    data: bytes = b""
    row: licenses.Row | None = None
    """The license in the table with this text; None if there is none."""
    problem: str = ""
    """Why it could not be read; empty if it could."""

    @property
    def digest(self) -> digests.Digest:
        """SHA-256 of the bytes."""
        return digests.Digest.of_bytes(self.data)


@dataclass(frozen=True, slots=True)
class DetectedLicense:
    """The license of a document, its evidence, and the license files that belong to it."""

    conclusion: licenses.Conclusion
    evidence: Evidence
    files: tuple[LegalFile, ...] = ()

    @property
    def expression(self) -> str:
        """SPDX expression; NOASSERTION if unknown."""
        return self.conclusion.expression

    @property
    def license_class(self) -> manifests.LicenseClass:
        """The most restrictive class of the expression; Unknown if unknown."""
        return self.conclusion.license_class

    @property
    def problem(self) -> str:
        """Why the license is unknown, and the next step; without text of the document."""
        if self.evidence is Evidence.HEADER:
            return "its SPDX header is not an expression of reviewed licenses; correct the header"
        return self.conclusion.message


def is_license_file(path: str) -> bool:
    """Return whether a path names a license file: LICENSE, COPYING.txt or LICENSES/MIT.txt."""
    return license_texts.is_license_file(path) or bool(_REUSE.fullmatch(path))


def identify(path: str, data: bytes, table: licenses.Table) -> LegalFile:
    """Look up the text of a license file in the table."""
    row = licenses.identify(data, table) if len(data) <= TEXT_LIMIT else None
    return LegalFile(path, data, row)


class LicenseDetector:
    """Detects the licenses of the documents of one source.

    Args:
        files: License files of the source.
        declared: SPDX expression in the spec of the source; None without one.
        table: License identities and classes.
    """

    def __init__(
        self, files: Iterable[LegalFile], declared: str | None, table: licenses.Table
    ) -> None:
        self._declared = declared
        self._table = table
        self._files = {file.path: file for file in sorted(files, key=lambda file: file.path)}
        self._cache: dict[tuple[str | None, str], DetectedLicense] = {}

    def detect(self, path: str, data: bytes) -> DetectedLicense:
        """Return the license of one document; cached by header and folder."""
        key = (spdx_headers.parse(path, data), posixpath.dirname(path))
        if key not in self._cache:
            self._cache[key] = self._detect(key[0], path)
        return self._cache[key]

    def _detect(self, header: str | None, path: str) -> DetectedLicense:
        if header:
            conclusion = licenses.declare(header, self._table)
            files = tuple(self._header_files(conclusion, path))
            return DetectedLicense(conclusion, Evidence.HEADER, files)
        nearest = tuple(self._files[name] for name in license_texts.nearest(path, self._files))
        if unreadable := [file for file in nearest if file.problem]:
            return DetectedLicense(_unreadable(unreadable[0]), Evidence.FILE, nearest)
        concluded = [
            licenses.conclude(self._declared, file.row, self._table) for file in nearest if file.row
        ]
        if concluded and len(concluded) == len(nearest):
            return DetectedLicense(_join(concluded), Evidence.FILE, nearest)
        if self._declared:
            # Beside an unreviewed text, the identified texts must agree with the declaration.
            concluded = concluded or [licenses.declare(self._declared, self._table)]
            return DetectedLicense(_join(concluded), Evidence.DECLARED, nearest)
        return DetectedLicense(_undeclared(nearest), Evidence.NONE)

    def _header_files(self, conclusion: licenses.Conclusion, path: str) -> Iterator[LegalFile]:
        """Yield the license files of a header: in a parent folder, or in LICENSES/ (REUSE)."""
        folders = {str(folder) for folder in PurePosixPath(path).parents} | {"LICENSES"}
        for file in self._files.values():
            if file.row in conclusion.rows and str(PurePosixPath(file.path).parent) in folders:
                yield file


def _join(concluded: list[licenses.Conclusion]) -> licenses.Conclusion:
    """Join the licenses of files in one folder with AND: they may mean OR, but AND is safe."""
    unknown = next((one for one in concluded if not one.known), None)
    if unknown or len(concluded) == 1:
        return unknown or concluded[0]
    rows = {row.id: row for one in concluded for row in one.rows}
    return licenses.Conclusion(
        expressions.conjunction(tuple(one.expression for one in concluded)),
        tuple(rows[name] for name in sorted(rows)),
        "",
        "; ".join(sorted({one.message for one in concluded})),
    )


def _unreadable(file: LegalFile) -> licenses.Conclusion:
    return _unknown(
        f"the license file {file.path} cannot be read ({file.problem}); correct the file, or add "
        "it to exclude if it does not apply"
    )


def _undeclared(nearest: Sequence[LegalFile]) -> licenses.Conclusion:
    """Return an unknown license with the missing evidence as its message."""
    names = ", ".join(file.path for file in nearest if not file.row)
    if not names:
        return _unknown(
            "no license is declared; set the license field of the source, or add a license file "
            "beside the documents"
        )
    return _unknown(
        f"the text of {names} is not reviewed; set the license field of the source, or have the "
        "text reviewed and added to the license table"
    )


def _unknown(message: str) -> licenses.Conclusion:
    return licenses.Conclusion(expressions.NOASSERTION, (), licenses.LICENSE_UNKNOWN, message)


def table_digest(table: licenses.Table) -> str:
    """Return the digest of a license table; the fingerprint covers it."""
    return str(digests.Digest.of_bytes("\n".join(sorted(map(repr, table.rows))).encode()))
