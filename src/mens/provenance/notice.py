"""NOTICE and LICENSES/: what has to travel with an artifact, put together from captured bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mens.artifacts import digests, errors, manifests
from mens.provenance import texts

FILE_NAME = "NOTICE"
"""Name of the notice in the artifact's folder."""


def assemble(
    name: str,
    compliance: manifests.Compliance,
    captured: Mapping[digests.Digest, bytes],
    *,
    inputs: Iterable[manifests.Input] = (),
    upstream: manifests.Upstream | None = None,
) -> dict[str, bytes]:
    """All files that must be in an artifact's folder for its licences' sake, by path.

    Args:
        name: Name of the artifact.
        compliance: Its joined compliance.
        captured: Licence texts by the digest of their bytes; all of `compliance.licenses`.
        inputs: What it was made from, to be named.
        upstream: Where its base comes from, to be named.

    Returns:
        `NOTICE` and every `LICENSES/…` file. The same arguments give the same bytes.
    """
    files: dict[str, bytes] = {}
    for held in compliance.licenses:
        data = captured.get(held.text_digest)
        if data is None or digests.Digest.of_bytes(data) != held.text_digest:
            raise errors.DigestMismatch(
                f"the text of {held.id} ({held.text_digest}) was not handed over as it was captured"
            )
        files[held.path] = data
    lines = [name, "=" * len(name), "", f"Licence: {compliance.license_expression}"]
    if upstream:
        lines += [f"Upstream: {upstream.model_id} ({upstream.family}), {upstream.revision}"]
    made_from = [f"- {i.role}: {i.name} ({i.license_expression}), {i.digest}" for i in inputs]
    if made_from:
        lines += ["", "Made from", *made_from]
    for held in compliance.licenses:
        notices = texts.notices(texts.decode(files[held.path]))
        lines += ["", f"{held.id}: see {held.path}", *(f"  {notice}" for notice in notices)]
    if compliance.obligations:
        lines += ["", "What these licences ask for, in short; their own words decide:"]
        lines += [
            f"- {each.text} [{each.source.license} {each.source.clause}; {each.condition}]"
            for each in compliance.obligations
        ]
    files[FILE_NAME] = ("\n".join(lines) + "\n").encode()
    return files


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put assembled files into a folder."""
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
