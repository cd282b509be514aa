"""What an artifact's use obliges to: a lattice, joined over everything it was made from.

Class is the maximum, obligations and license texts are unions, the expression is AND, and
attribution is the strongest. Laws, tested: the order of parents does not matter, a parent twice
counts once, joining in two steps is joining at once, and a further parent never takes away an
obligation or lowers the class.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Final

from mens.artifacts import digests, manifests
from mens.provenance import expressions, license_texts, licenses

ALWAYS: Final = "always"
"""The obligation holds for every use."""
ON_DISTRIBUTION: Final = "onDistribution"
"""It holds when copies are given to others."""
ON_HOSTING: Final = "onHosting"
"""It holds when others use it over a network."""

_ATTRIBUTION: Final = list(reversed(manifests.Attribution))  # No, Conditional, Yes

UNREVIEWED: Final = "LicenseRef-Unreviewed-"
"""Begins the id of a text that nobody reviewed and that travels beside a declared license; a piece
of its digest follows. It is never filed under the license that somebody says it is."""


class Kind(enum.StrEnum):
    """What an obligation asks for."""

    NOTICE = "notice"
    LICENSE_COPY = "license-copy"
    UI_DISPLAY = "ui-display"
    NAME_PREFIX = "name-prefix"
    DOC_STATEMENT = "doc-statement"
    PASS_THROUGH_TERMS = "pass-through-terms"  # noqa: S105  # no password
    STATE_CHANGES = "state-changes"
    NO_OUTPUT_TRAINING = "no-output-training"
    NON_COMMERCIAL = "non-commercial"
    GEO = "geo"
    THRESHOLD_LICENSE = "threshold-license"
    SAME_LICENSE = "same-license"
    NO_ENDORSEMENT = "no-endorsement"


def unknown() -> manifests.Compliance:
    """The top of the lattice: nothing is known, so nothing is allowed."""
    return manifests.Compliance(
        license_expression=expressions.NOASSERTION,
        license_class=manifests.LicenseClass.UNKNOWN,
        attribution_required=manifests.Attribution.YES,
    )


def of(conclusion: licenses.Conclusion, captured: Iterable[bytes] = ()) -> manifests.Compliance:
    """Compliance of something under one concluded license.

    Args:
        conclusion: What was concluded.
        captured: The license files as they were found; each is carried on, byte by byte.
    """
    files = tuple(captured)
    id_ = conclusion.expression
    if not conclusion.known:
        top = unknown()
        held = tuple(_license("LicenseRef-Unknown", data) for data in files)
        return top.model_copy(update={"licenses": _placed(held)})
    by_row = {row.id: digest for data in files for row, digest in _recognized(conclusion, data)}
    held = tuple(_license(_id_of(conclusion, data), data) for data in files)
    return manifests.Compliance(
        license_expression=id_,
        license_class=conclusion.license_class,
        attribution_required=_strongest(row.attribution for row in conclusion.rows),
        obligations=_sorted(
            obligation.model_copy(
                update={
                    "source": obligation.source.model_copy(
                        update={"text_digest": by_row.get(row.id)}
                    )
                }
            )
            for row in conclusion.rows
            for obligation in row.obligations
        ),
        licenses=_placed(held),
    )


def join(parents: Iterable[manifests.Compliance]) -> manifests.Compliance:
    """Compliance of what is made from all parents together; ValueError without any."""
    given = tuple(parents)
    if not given:
        raise ValueError("something that is made of nothing has no license; give its parents")
    classes = (parent.license_class for parent in given)
    expression = expressions.conjunction(tuple(parent.license_expression for parent in given))
    strictest = max(classes, key=lambda each: each.rank)
    if expression == expressions.NOASSERTION:
        strictest = manifests.LicenseClass.UNKNOWN
    return manifests.Compliance(
        license_expression=expression,
        license_class=strictest,
        attribution_required=_strongest(parent.attribution_required for parent in given),
        obligations=_sorted(each for parent in given for each in parent.obligations),
        licenses=_placed(each for parent in given for each in parent.licenses),
    )


def _recognized(
    conclusion: licenses.Conclusion, data: bytes
) -> list[tuple[licenses.Row, digests.Digest]]:
    digest = license_texts.digest(license_texts.decode(data))
    return [(row, digest) for row in conclusion.rows if digest in {t.digest for t in row.texts}]


def _id_of(conclusion: licenses.Conclusion, data: bytes) -> str:
    """The id under which a text is carried: as concluded, which may be an alias of the row's."""
    for row, _ in _recognized(conclusion, data):
        named = expressions.ids(expressions.parse(conclusion.expression))
        return next((name for name in row.ids if name in named), row.id)
    return UNREVIEWED + digests.Digest.of_bytes(data).short


def _license(id_: str, data: bytes) -> manifests.License:
    digest = digests.Digest.of_bytes(data)
    return manifests.License(id=id_, text_digest=digest, path=_path(id_))


def _path(id_: str, digest: digests.Digest | None = None) -> str:
    name = re.sub(r"[^A-Za-z0-9.+-]+", "-", id_)
    return f"LICENSES/{name}{'-' + digest.short if digest else ''}.txt"


def _placed(found: Iterable[manifests.License]) -> tuple[manifests.License, ...]:
    """Each text once, under a path that depends on the set alone.

    Two MIT texts with two holders are two texts: then each carries a piece of its digest.
    """
    by_id: dict[str, set[digests.Digest]] = {}
    for each in found:
        by_id.setdefault(each.id, set()).add(each.text_digest)
    placed = (
        manifests.License(
            id=id_, text_digest=digest, path=_path(id_, digest if len(held) > 1 else None)
        )
        for id_, held in by_id.items()
        for digest in held
    )
    return tuple(sorted(placed, key=lambda each: each.path))


def _sorted(found: Iterable[manifests.Obligation]) -> tuple[manifests.Obligation, ...]:
    """Each obligation once; two that differ in anything both stay."""
    unique = {each.model_dump_json(): each for each in found}
    return tuple(each for _, each in sorted(unique.items(), key=lambda item: (item[1].id, item[0])))


def _strongest(found: Iterable[manifests.Attribution]) -> manifests.Attribution:
    return max(found, key=_ATTRIBUTION.index)
