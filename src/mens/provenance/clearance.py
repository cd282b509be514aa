"""May this artifact be built on: asked before any hour of computing is spent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from mens.artifacts import manifests
from mens.provenance import expressions, licenses, obligations

CLEARED = "LicenseCleared"
"""Every license is known and allowed."""

_ADVICE: Final[Mapping[manifests.Kind, str]] = {
    manifests.Kind.MODEL: "Import the model with its original license file "
    "(mens model import --license-file) to a folder of its own, since what is published never "
    "changes; or have the text reviewed and added to the table",
    manifests.Kind.CORPUS: "Correct the source's license field or add its license file, and build "
    "the corpus again; or have the text reviewed and added to the table",
    manifests.Kind.ADAPTER: "Train it again from a base and a corpus whose licenses are known",
}
"""The next step where a license is unknown."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """Whether an artifact may be used, with the reason."""

    ok: bool
    """Whether it may be used."""
    reason: str
    """LicenseCleared, LicenseUnknown or LicenseNotAllowed."""
    message: str
    """The cause and the next step."""


def judge(
    manifest: manifests.Manifest,
    *,
    allowed: Collection[manifests.LicenseClass] | None = None,
    captured: Mapping[str, bytes] | None = None,
    table: licenses.Table | None = None,
) -> Judgment:
    """Decide whether a model or a corpus may be trained on or served.

    The publisher wrote the license in the manifest, possibly with an older table. The ids are
    therefore looked up again, and so are the texts if `captured` is given.

    Args:
        manifest: The artifact's manifest.
        allowed: Classes that the policy allows; None allows every known class.
        captured: Bytes of the files below `LICENSES/` by path, verified against the manifest.
        table: Reviewed rows; None for the built-in ones.
    """
    table = table or licenses.builtin()
    said = manifest.compliance
    name = f"{manifest.kind} {manifest.name!r}"
    if said.license_class is manifests.LicenseClass.UNKNOWN:
        return _unknown(manifest, "its manifest declares the license unknown")
    now = licenses.declare(said.license_expression, table)
    if not now.known:
        return _unknown(manifest, now.message)
    if problem := _text_problem(manifest, captured, table):
        return _unknown(manifest, problem)
    strictest = max(said.license_class, now.license_class, key=lambda each: each.rank)
    if allowed is not None and strictest not in allowed:
        return Judgment(
            False,
            licenses.LICENSE_NOT_ALLOWED,
            f"{name} is under {said.license_expression}, class {strictest}, and the policy allows "
            f"{', '.join(sorted(allowed)) or 'none'}; choose another one or widen the policy",
        )
    return Judgment(True, CLEARED, f"{name} is under {said.license_expression}")


def _text_problem(
    manifest: manifests.Manifest, captured: Mapping[str, bytes] | None, table: licenses.Table
) -> str:
    """Return what is wrong with the license texts of an artifact; empty if nothing is wrong.

    Only a model requires a text for each license. A row of a corpus can be cleared by the SPDX
    header of its author without a file, or by a declaration next to an unreviewed text with an id
    of its own. A model is identified by its texts alone.
    """
    said = manifest.compliance
    needed = expressions.ids(expressions.parse(said.license_expression))
    lacking = sorted(needed - {held.id for held in said.licenses})
    if lacking and manifest.kind is manifests.Kind.MODEL:
        return f"it carries no license text for {', '.join(lacking)}"
    for held in said.licenses:
        file = manifest.file(held.path)
        if file is None or file.digest != held.text_digest:
            return f"the license text {held.path} is not among its files as it was captured"
        unreviewed = held.id.startswith(obligations.UNREVIEWED)
        if unreviewed and manifest.kind is not manifests.Kind.MODEL:
            continue
        if captured is not None:
            row = table.by_text(captured.get(held.path, b""))
            if row is None or held.id not in row.ids:
                return f"{held.path} is not a reviewed text of {held.id}"
    return ""


def _unknown(manifest: manifests.Manifest, why: str) -> Judgment:
    return Judgment(
        False,
        licenses.LICENSE_UNKNOWN,
        f"{manifest.kind} {manifest.name!r} has no known license: {why}. {_ADVICE[manifest.kind]}",
    )
