"""One digest over everything the dataset depends on: equal fingerprints mean equal files."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

from mens.api import corpus
from mens.artifacts import digests

CODE: Final = "mens-corpus/2"
"""Version of the stages; changed whenever the same input may give other bytes."""
LIBRARIES: Final = ("markdown-it-py", "orjson", "zstandard")
"""Distributions that rows or their bytes depend on."""


def versions() -> dict[str, str]:
    """Return the versions that may change the bytes; Python's grammar is its minor version."""
    found = {name: metadata.version(name) for name in LIBRARIES}
    return found | {"python": ".".join(platform.python_version_tuple()[:2]), "stages": CODE}


def fingerprint(
    spec: corpus.MensCorpusSpec, inputs: Sequence[tuple[str, str, str]], table: str
) -> digests.Digest:
    """Return the fingerprint.

    Args:
        spec: The corpus; only what decides about rows counts, not what its pod asks for.
        inputs: Name, URI and digest of each source that was read.
        table: Identity of the license table.
    """
    said = spec.wire()
    content: dict[str, Any] = {
        "sources": said["sources"],
        "licensePolicy": said.get("licensePolicy"),
        "split": said.get("split"),
        "inputs": [list(item) for item in inputs],
        "licenses": table,
        "versions": versions(),
    }
    data = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digests.Digest.of_bytes(data.encode())
