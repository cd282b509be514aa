"""A thin OCI archive: an image's documents without its layers.

containerd asks for a layer's bytes only when it has to unpack them; where the unpacked stack is
there already, under its chain ID, the documents are all it needs.
"""

import io
import json
import tarfile

from hack.images import layers

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def thin(image: layers.StoredImage, reference: str) -> bytes:
    """Returns an OCI image layout, as a tar, with manifest and configuration only."""
    described = {
        "mediaType": MANIFEST,
        "digest": layers.digest_of(image.manifest),
        "size": len(image.manifest),
        "platform": {"architecture": json.loads(image.config)["architecture"], "os": "linux"},
        "annotations": {"io.containerd.image.name": reference},
    }
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
        _blob(image.manifest): image.manifest,
        _blob(image.config): image.config,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _blob(data: bytes) -> str:
    return "blobs/" + layers.digest_of(data).replace(":", "/")
