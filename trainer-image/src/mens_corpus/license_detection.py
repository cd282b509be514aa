"""The license of each document, by the strongest evidence there is.

SPDX headers of the file, else the nearest license file of the source (known by the hash of its
text), else what the source declares, else unknown. A license file whose text nobody reviewed
proves nothing by itself: with a declaration the declaration counts and the text travels along,
under a name of its own. A text that is known and a declaration that disagree conclude nothing,
which blocks; so does a license file that cannot be read, since its text cannot travel.
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
"""Bytes of a license file that is compared with the table; what is longer is unknown. The longest
real one (a bundle of notices) has about 100 KB."""

_REUSE: Final = re.compile(r"LICENSES/[^/]+\.txt")


class Evidence(enum.StrEnum):
    """How a license was concluded."""

    HEADER = "Header"
    """An SPDX identifier at the top of the document."""
    FILE = "File"
    """The text of the nearest license file."""
    DECLARED = "Declared"
    """The declaration in the spec of the source."""
    NONE = "None"
    """Nothing; the rows are quarantined."""


@dataclass(frozen=True, slots=True)
class Text:
    """A license or NOTICE file of a source, as it was found."""

    path: str
    """Where it lies in the source."""
    data: bytes = b""
    row: licenses.Row | None = None
    """What the table says it is."""
    problem: str = ""
    """Why it could not be read; empty if it could."""

    @property
    def digest(self) -> digests.Digest:
        """SHA-256 of the captured bytes."""
        return digests.Digest.of_bytes(self.data)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The license of a document, why, and the texts that say so."""

    found: licenses.Conclusion
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

    @property
    def doubt(self) -> str:
        """Why it is unknown, and the next step; quotes nothing of the document itself."""
        if self.evidence is Evidence.HEADER:
            return "its SPDX header is no expression of reviewed licenses; correct the header"
        return self.found.message


def is_license_file(path: str) -> bool:
    """Return whether a path names a license text: LICENSE, COPYING.txt or LICENSES/MIT.txt."""
    return license_texts.is_license_file(path) or bool(_REUSE.fullmatch(path))


def captured(path: str, data: bytes, table: licenses.Table) -> Text:
    """Identify a license file."""
    row = licenses.identify(data, table) if len(data) <= TEXT_LIMIT else None
    return Text(path, data, row)


class Concluder:
    """Concludes licenses of one source's documents.

    Args:
        held: The source's license files.
        declared: The declaration in the spec.
        table: Identities and classes.
    """

    def __init__(self, held: Iterable[Text], declared: str | None, table: licenses.Table) -> None:
        self._declared = declared
        self._table = table
        self._held = {text.path: text for text in sorted(held, key=lambda text: text.path)}
        self._memory: dict[tuple[str | None, str], Conclusion] = {}

    def conclude(self, path: str, data: bytes) -> Conclusion:
        """Return the license of one document; one folder and header are asked about once."""
        key = (spdx_headers.declared(path, data), posixpath.dirname(path))
        if key not in self._memory:
            self._memory[key] = self._concluded(key[0], path)
        return self._memory[key]

    def _concluded(self, said: str | None, path: str) -> Conclusion:
        if said:
            found = licenses.declare(said, self._table)
            return Conclusion(found, Evidence.HEADER, tuple(self._named(found, path)))
        nearest = tuple(self._held[name] for name in license_texts.nearest(path, self._held))
        if unread := [text for text in nearest if text.problem]:
            return Conclusion(_unusable(unread[0]), Evidence.FILE, nearest)
        each = [
            licenses.conclude(self._declared, text.row, self._table) for text in nearest if text.row
        ]
        if each and len(each) == len(nearest):
            return Conclusion(_together(each), Evidence.FILE, nearest)
        if self._declared:
            # Beside a text that nobody reviewed, the known ones must agree with the declaration.
            each = each or [licenses.declare(self._declared, self._table)]
            return Conclusion(_together(each), Evidence.DECLARED, nearest)
        return Conclusion(_undeclared(nearest), Evidence.NONE)

    def _named(self, found: licenses.Conclusion, path: str) -> Iterator[Text]:
        """Yield the texts of a header's licenses: in a folder above, or in LICENSES/ (REUSE)."""
        folders = {str(folder) for folder in PurePosixPath(path).parents} | {"LICENSES"}
        for text in self._held.values():
            if text.row in found.rows and str(PurePosixPath(text.path).parent) in folders:
                yield text


def _together(each: list[licenses.Conclusion]) -> licenses.Conclusion:
    """Join what several license files side by side say: they may mean "or", "and" is safe."""
    doubtful = next((one for one in each if not one.known), None)
    if doubtful or len(each) == 1:
        return doubtful or each[0]
    rows = {row.id: row for one in each for row in one.rows}
    return licenses.Conclusion(
        expressions.conjunction(tuple(one.expression for one in each)),
        tuple(rows[name] for name in sorted(rows)),
        "",
        "; ".join(sorted({one.message for one in each})),
    )


def _unusable(text: Text) -> licenses.Conclusion:
    return _unknown(
        f"the license file {text.path} cannot be read ({text.problem}); correct the file, or name "
        "it in exclude if it does not apply"
    )


def _undeclared(nearest: Sequence[Text]) -> licenses.Conclusion:
    """Conclude nothing, and say what is missing."""
    names = ", ".join(text.path for text in nearest if not text.row)
    if not names:
        return _unknown(
            "nothing declares it; declare it in the source's license field, or add the license "
            "file beside the documents"
        )
    return _unknown(
        f"nobody reviewed the text of {names}; declare the license in the source's license field, "
        "or have the text reviewed and added to the table"
    )


def _unknown(message: str) -> licenses.Conclusion:
    return licenses.Conclusion(expressions.NOASSERTION, (), licenses.LICENSE_UNKNOWN, message)


def identity(table: licenses.Table) -> str:
    """Return a digest of a table: another one may conclude otherwise."""
    return str(digests.Digest.of_bytes("\n".join(sorted(map(repr, table.rows))).encode()))
