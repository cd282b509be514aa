"""NOTICE and LICENSES/: what has to travel with an artifact, put together from captured bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mens.artifacts import digests, errors, manifests
from mens.provenance import license_texts

FILE_NAME = "NOTICE"
"""Name of the notice in the artifact's folder."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """A NOTICE file of something that an artifact is made from."""

    path: str
    """Its path there."""
    owner: str
    """Name of what it was found in."""
    data: bytes
    """Its bytes."""


def is_notice_file(path: str) -> bool:
    """Whether a path names a NOTICE file, whose text travels with the work (Apache-2.0 4(d))."""
    return PurePosixPath(path).name.lower() in {"notice", "notice.txt", "notice.md"}


def assemble(
    name: str,
    compliance: manifests.Compliance,
    captured: Mapping[digests.Digest, bytes],
    *,
    inputs: Iterable[manifests.Input] = (),
    upstream: manifests.Upstream | None = None,
    quoted: Iterable[Quoted] = (),
) -> dict[str, bytes]:
    """All files that must be in an artifact's folder for its licenses' sake, by path.

    Args:
        name: Name of the artifact.
        compliance: Its joined compliance.
        captured: License texts by the digest of their bytes; all of `compliance.licenses`.
        inputs: What it was made from, to be named.
        upstream: Where its base comes from, to be named.
        quoted: NOTICE files of what it was made from, to be carried on as they are.

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
    lines = [name, "=" * len(name), "", f"License: {compliance.license_expression}"]
    if upstream:
        lines += [f"Upstream: {upstream.model_id} ({upstream.family}), {upstream.revision}"]
    made_from = [f"- {i.role}: {i.name} ({i.license_expression}), {i.digest}" for i in inputs]
    if made_from:
        lines += ["", "Made from", *made_from]
    for held in compliance.licenses:
        notices = license_texts.notices(license_texts.decode(files[held.path]))
        lines += ["", f"{held.id}: see {held.path}", *(f"  {notice}" for notice in notices)]
    if compliance.obligations:
        lines += ["", "What these licenses ask for, in short; their own words decide:"]
        lines += [
            f"- {each.text} [{each.source.license} {each.source.clause}; {each.condition}]"
            for each in compliance.obligations
        ]
    own = ("\n".join(lines) + "\n").encode()
    files[FILE_NAME] = own + b"".join(map(_section, quoted))
    return files


def _section(quoted: Quoted) -> bytes:
    """A NOTICE file as it was found, under a line that says whose it is."""
    heading = f"\n--- {quoted.path} of {quoted.owner}\n".encode()
    return heading + quoted.data.rstrip() + b"\n"


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put assembled files into a folder."""
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
