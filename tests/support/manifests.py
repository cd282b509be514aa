"""Short ways to a manifest, for tests that care about something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mens.artifacts import manifests
from mens.provenance import licenses, obligations

APACHE = Path("/usr/share/common-licenses/Apache-2.0")
"""The original text on every Debian machine."""


def compliance() -> manifests.Compliance:
    """Compliance of something under MIT, without a text."""
    return obligations.of(licenses.declare("MIT"))


def draft(name: str = "tiny", **changes: Any) -> manifests.Manifest:
    """A manifest without files."""
    given: dict[str, Any] = {
        "kind": manifests.Kind.MODEL,
        "name": name,
        "compliance": compliance(),
        "producer": manifests.Producer(image="local"),
    }
    return manifests.Manifest(**(given | changes))


def folder(at: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    at.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return at
