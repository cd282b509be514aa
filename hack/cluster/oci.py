"""Reads and writes OCI image archives with the standard library: no builder, no registry."""

import dataclasses
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hack.support import errors

_NAME = "io.containerd.image.name"
_REF = "org.opencontainers.image.ref.name"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclasses.dataclass(frozen=True)
class Reference:
    """An image's name and the digest of its manifest, which identifies its content."""

    name: str
    digest: str


def references(archive: Path) -> list[Reference]:
    """Reads which images an archive, or an OCI folder, holds; only named ones count."""
    index = json.loads(_index(archive))
    found = []
    for manifest in index.get("manifests", []):
        notes = manifest.get("annotations", {})
        name = notes.get(_NAME) or notes.get(_REF)
        if name:
            found.append(Reference(name, manifest["digest"]))
    return found


def write(archive: Path, name: str, files: Mapping[str, bytes], entrypoint: Sequence[str]) -> None:
    """Writes an image of a few executable files; the same inputs give the same bytes."""
    layer = _layer(files)
    config = _json(
        {
            "architecture": _MACHINES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    kind = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _descriptor(f"{kind}.config.v1+json", config),
            "layers": [_descriptor(f"{kind}.layer.v1.tar", layer)],
        }
    )
    entry = _descriptor(f"{kind}.manifest.v1+json", manifest)
    notes = {_NAME: name, _REF: name.rpartition(":")[2]}
    index = _json({"schemaVersion": 2, "manifests": [{**entry, "annotations": notes}]})
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as output:
        _add(output, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        for blob in (layer, config, manifest):
            _add(output, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)
        _add(output, "index.json", index)


def stream(folder: Path, output: IO[bytes]) -> None:
    """Writes an OCI folder as the archive that importers read, without a copy on disk."""
    with tarfile.open(fileobj=output, mode="w|") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, str(path.relative_to(folder)))


def _index(archive: Path) -> bytes:
    if archive.is_dir():
        return (archive / "index.json").read_bytes()
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                if member.name.removeprefix("./") == "index.json":
                    content = opened.extractfile(member)
                    assert content is not None
                    return content.read()
    except (tarfile.TarError, OSError) as error:
        raise errors.ToolError(f"{archive} is not a readable image archive: {error}") from error
    return b"{}"  # A docker-format archive: importable, but its digest is known only afterwards.


def _layer(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as output:
        for name, content in sorted(files.items()):
            _add(output, name.lstrip("/"), content, mode=0o755)
    return buffer.getvalue()


def _add(output: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    output.addfile(member, io.BytesIO(content))


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
