"""Images as they lie in the store, and the thin archives made of them."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hack.images import archives, layers


def store(root: Path, diff_ids: list[str]) -> dict[str, Any]:
    """Write a store with two layers and one image; its entry in images.json."""
    config = json.dumps({"architecture": "amd64", "rootfs": {"diff_ids": diff_ids}}).encode()
    digest = layers.digest_of(config)
    manifest = json.dumps({"config": {"digest": digest}}).encode()
    folder = root / "overlay-images" / "i1"
    folder.mkdir(parents=True)
    (folder / "manifest").write_bytes(manifest)
    (folder / ("=" + base64.b64encode(digest.encode()).decode())).write_bytes(config)
    (root / "overlay-layers").mkdir()
    listed = [
        {"id": "top", "parent": "low", "diff-digest": "sha256:2"},
        {"id": "low", "diff-digest": "sha256:1"},
    ]
    (root / "overlay-layers" / "layers.json").write_text(json.dumps(listed))
    return {"id": "i1", "layer": "top", "names": ["localhost/x:1"]}


def test_layers_come_from_the_lowest(tmp_path: Path) -> None:
    """An image's layers are found by their parents and stand in the order of the configuration."""
    image = layers.read(tmp_path, store(tmp_path, ["sha256:1", "sha256:2"]))
    assert [layer.digest for layer in image.layers] == ["sha256:1", "sha256:2"]
    assert image.layers[0].folder == tmp_path / "overlay" / "low" / "diff"


def test_a_store_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """Layers that are not those of the configuration are never handed to a runtime."""
    with pytest.raises(ValueError, match="not those of image"):
        layers.read(tmp_path, store(tmp_path, ["sha256:1", "sha256:3"]))


def test_chain_ids_are_those_of_the_specification() -> None:
    """A stack's name is the digest of the stack below and of its top layer."""
    first, second, third = layers.chain_ids(["sha256:a", "sha256:b", "sha256:c"])
    assert first == "sha256:a"
    assert second == layers.digest_of(b"sha256:a sha256:b")
    assert third == layers.digest_of(f"{second} sha256:c".encode())


def test_a_thin_archive_has_documents_but_not_layers(tmp_path: Path) -> None:
    """Manifest and configuration go byte for byte; the reference is the name they get."""
    image = layers.read(tmp_path, store(tmp_path, ["sha256:1", "sha256:2"]))
    data = archives.thin(image, "localhost/x:1")
    assert len(data) < 20_000
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        index = json.load(archive.extractfile("index.json") or io.BytesIO())
        blobs = {name for name in archive.getnames() if name.startswith("blobs/")}
        described = index["manifests"][0]
        inside = archive.extractfile("blobs/" + described["digest"].replace(":", "/"))
        assert inside is not None
        assert inside.read() == image.manifest
    assert len(blobs) == 2
    assert described["annotations"] == {"io.containerd.image.name": "localhost/x:1"}
