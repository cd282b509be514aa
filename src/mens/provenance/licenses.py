"""The reviewed table, and what is concluded from what is declared and what is detected.

Declared is what somebody says (an SPDX header, a setting, a model card); detected is which
reviewed text the captured license file is. A text outweighs a word. Where they disagree, and
where nothing was reviewed, the conclusion is Unknown, which blocks: guessing is for nobody.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Self

from mens.artifacts import digests, manifests
from mens.provenance import expressions, license_texts

LICENSE_UNKNOWN: Final = "LicenseUnknown"
"""A license is missing, not reviewed, or what is said about it disagrees."""
LICENSE_NOT_ALLOWED: Final = "LicenseNotAllowed"
"""A license is known, and its class is not among those that the policy allows."""


@dataclass(frozen=True, slots=True)
class ReviewedText:
    """A text that was read and found to be the license."""

    digest: digests.Digest
    """SHA-256 of the normalized text."""
    read_in: str
    """Where it was read."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is known about one license."""

    id: str
    """SPDX id, or `LicenseRef-…`."""
    name: str
    """Its name in words."""
    license_class: manifests.LicenseClass
    """How much it asks; what it is thought to ask, for a row without texts."""
    attribution: manifests.Attribution
    """Whether somebody must be named."""
    also: tuple[str, ...] = ()
    """Other ids under which the same text is declared."""
    texts: tuple[ReviewedText, ...] = ()
    """Reviewed texts; a row without any clears nothing."""
    obligations: tuple[manifests.Obligation, ...] = ()
    """What it asks for, without the digest of the text at hand."""
    url: str = ""
    """Where its original stands."""
    note: str = ""
    """What the reviewer found worth knowing."""

    @property
    def reviewed(self) -> bool:
        """Whether anyone read the original."""
        return bool(self.texts)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids that mean this row."""
        return (self.id, *self.also)


class Table:
    """Rows by text and by id; frozen, `extended` returns a new one."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows: Final = tuple(rows)
        self._by_id = {name.casefold(): row for row in self.rows for name in row.ids}
        self._by_text = {text.digest: row for row in self.rows for text in row.texts}

    @classmethod
    def parse(cls, toml: str) -> Self:
        """Read a table; ValueError or KeyError for one that is not well-formed."""
        return cls(_row(item) for item in tomllib.loads(toml)["license"])

    def extended(self, other: Table) -> Table:
        """This table with further reviewed rows, such as a platform team's; theirs win by id."""
        theirs = {row.id for row in other.rows}
        return Table([*(row for row in self.rows if row.id not in theirs), *other.rows])

    def by_id(self, name: str) -> Row | None:
        """The row that an id means, reviewed or not; ids ignore case, as SPDX says."""
        return self._by_id.get(name.casefold())

    def by_text(self, text: str | bytes) -> Row | None:
        """The row whose reviewed text this is; None for any other text."""
        return self._by_text.get(
            license_texts.digest(text if isinstance(text, str) else license_texts.decode(text))
        )


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What holds for something, and why."""

    expression: str
    """SPDX expression without alternatives, or NOASSERTION."""
    rows: tuple[Row, ...]
    """The rows that the expression names; empty where unknown."""
    reason: str
    """Empty where known, else LICENSE_UNKNOWN."""
    message: str
    """How it was concluded, or what is missing and the next step."""

    @property
    def known(self) -> bool:
        """Whether a license was concluded."""
        return not self.reason

    @property
    def license_class(self) -> manifests.LicenseClass:
        """The class of the row that asks most; Unknown where unknown."""
        classes = (row.license_class for row in self.rows)
        return max(classes, key=lambda c: c.rank, default=manifests.LicenseClass.UNKNOWN)


@functools.cache
def builtin() -> Table:
    """The table that comes with this package."""
    data = resources.files("mens.provenance").joinpath("data/licenses.toml")
    return Table.parse(data.read_text("utf-8"))


def identify(text: str | bytes, table: Table | None = None) -> Row | None:
    """Which reviewed license a text is; None if nobody reviewed exactly this text."""
    return (table or builtin()).by_text(text)


def is_known(expression: str, table: Table | None = None) -> bool:
    """Whether every license that an expression needs is reviewed; alternatives need one."""
    return declare(expression, table).known


def declare(expression: str, table: Table | None = None) -> Conclusion:
    """Conclude from a declaration alone: for an author's own SPDX header, never for a model."""
    table = table or builtin()
    try:
        parsed = expressions.parse(expression)
    except ValueError as e:
        return _unknown(f"{e}; write an SPDX expression such as Apache-2.0")
    chosen = _choose(parsed, table)
    if chosen is None:
        names = sorted(expressions.ids(parsed))
        return _unknown(" ".join(_why_unknown(name, table) for name in names))
    rows = tuple(row for name in chosen if (row := table.by_id(name)))
    text = expressions.conjunction(tuple(chosen))
    return Conclusion(text, rows, "", f"declared as {expression}")


def conclude(declared: str | None, detected: Row | None, table: Table | None = None) -> Conclusion:
    """Conclude a license from a declaration and a captured text, which can contradict each other.

    Args:
        declared: Declared SPDX expression, or None.
        detected: Result of `identify` for the captured text; None if it is missing or unknown.
        table: Reviewed rows; None for the built-in ones.
    """
    if detected is None:
        if declared is None:
            return _unknown(
                "there is neither a license text nor a declaration; add the license file"
            )
        return _unknown(
            f"it is declared as {declared}, but its license text is not reviewed; add the original "
            "license file, or have its text reviewed and added to the table"
        )
    found = Conclusion(detected.id, (detected,), "", f"the text is that of {detected.id}")
    if declared is None:
        return found
    try:
        alternatives = _alternatives(expressions.parse(declared))
    except ValueError as e:
        return _unknown(f"{e}; correct the declaration, the text is that of {detected.id}")
    ids = {name.casefold(): name for name in detected.ids}
    for alternative in alternatives:
        if isinstance(alternative, expressions.Id) and alternative.name.casefold() in ids:
            return Conclusion(
                ids[alternative.name.casefold()],
                (detected,),
                "",
                f"declared as {declared}, and the text is that of {detected.id}",
            )
    return _unknown(
        f"it is declared as {declared}, but the text is that of {detected.id}; correct the one "
        "that is wrong"
    )


def _choose(expression: expressions.Expression, table: Table) -> frozenset[str] | None:
    """The ids to comply with: of alternatives the one that asks least; None if one is unknown."""
    if isinstance(expression, expressions.Id):
        row = table.by_id(expression.name)
        if row is None or not row.reviewed:
            return None
        return frozenset(name for name in row.ids if name.casefold() == expression.name.casefold())
    chosen = [_choose(part, table) for part in expression.parts]
    if isinstance(expression, expressions.And):
        known = [each for each in chosen if each is not None]
        return frozenset().union(*known) if len(known) == len(chosen) else None

    def asks(names: frozenset[str]) -> tuple[int, list[str]]:
        rows = (row for name in names if (row := table.by_id(name)))
        return max(row.license_class.rank for row in rows), sorted(names)

    return min((each for each in chosen if each is not None), key=asks, default=None)


def _alternatives(expression: expressions.Expression) -> tuple[expressions.Expression, ...]:
    return expression.parts if isinstance(expression, expressions.Or) else (expression,)


def _why_unknown(name: str, table: Table) -> str:
    row = table.by_id(name)
    if row is None:
        return f"{name} is not in the table of reviewed licenses; have its text reviewed."
    if not row.reviewed:
        return f"{name} is known by name only, nobody reviewed its text ({row.url}) yet."
    return f"{name} is reviewed."


def _unknown(message: str) -> Conclusion:
    return Conclusion(expressions.NOASSERTION, (), LICENSE_UNKNOWN, message)


def _row(item: Mapping[str, Any]) -> Row:
    def obligation(given: Mapping[str, str]) -> manifests.Obligation:
        return manifests.Obligation(
            id=f"{item['id']}/{given['id']}",
            kind=given["kind"],
            text=given["text"],
            condition=given["condition"],
            source=manifests.ObligationSource(license=item["id"], clause=given["clause"]),
        )

    return Row(
        id=item["id"],
        name=item["name"],
        license_class=manifests.LicenseClass(item["class"]),
        attribution=manifests.Attribution(item["attribution"]),
        also=tuple(item.get("also", ())),
        texts=tuple(
            ReviewedText(digests.Digest(text["digest"]), text["read_in"])
            for text in item.get("texts", ())
        ),
        obligations=tuple(obligation(given) for given in item.get("obligations", ())),
        url=item["url"],
        note=item.get("note", ""),
    )
