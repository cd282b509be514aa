"""The fingerprint: a digest of everything the dataset depends on.

Equal fingerprints mean equal files.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

from mens.api import corpus
from mens.artifacts import digests

STAGES_VERSION: Final = "mens-corpus/2"
"""Version of the code; increased whenever the same input may give different bytes."""
DEPENDENCIES: Final = ("markdown-it-py", "orjson", "zstandard")
"""Python packages that rows or their bytes depend on."""


def versions() -> dict[str, str]:
    """Return the versions that may change the bytes; Python's grammar changes per minor version."""
    found = {name: metadata.version(name) for name in DEPENDENCIES}
    return found | {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "stages": STAGES_VERSION,
    }


def fingerprint(
    spec: corpus.MensCorpusSpec, inputs: Sequence[tuple[str, str, str]], table: str
) -> digests.Digest:
    """Return the fingerprint of a dataset.

    Args:
        spec: The corpus; fields that do not affect rows, such as resources, are ignored.
        inputs: Name, URI and digest of each source that was read.
        table: Digest of the license table.
    """
    fields = spec.wire()
    content: dict[str, Any] = {
        "sources": fields["sources"],
        "licensePolicy": fields.get("licensePolicy"),
        "split": fields.get("split"),
        "inputs": [list(item) for item in inputs],
        "licenses": table,
        "versions": versions(),
    }
    data = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digests.Digest.of_bytes(data.encode())
