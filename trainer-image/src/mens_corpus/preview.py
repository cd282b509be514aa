"""A dataset for a person's eyes: counts and some rows."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from mens.artifacts import manifests, reader, refs, store
from mens_corpus import accounting, jsonl, selection


def show(folder: Path, count: int) -> Iterator[str]:
    """Yield lines about a built corpus: accounting, licenses, and the first rows of each side.

    Rows lie in the order of their ids, which are hashes: the first ones are a fair sample.
    """
    manifest = manifests.Manifest.parse((folder / manifests.FILE_NAME).read_bytes())
    yield f"{manifest.name}  {manifest.details.get('fingerprint')}"
    yield f"license {manifest.compliance.license_expression} "
    yield from accounting.table(_counts(manifest)).splitlines()
    for stem in (selection.TRAIN, selection.VALIDATION):
        for line in itertools.islice(jsonl.read_lines(folder / f"{stem}.jsonl.zst"), count):
            yield from _row(stem, orjson.loads(line))


def fetched(objects: store.ObjectStore, uri: refs.Uri, into: Path) -> Path:
    """Fetch and verify a published corpus, and return its folder."""
    manifest, digest = manifests.read(objects, uri)
    reader.fetch(objects, refs.ArtifactRef(uri=uri, digest=digest), into, manifest=manifest)
    (into / manifests.FILE_NAME).write_bytes(manifest.to_bytes())
    return into


def temporary() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for `fetched`."""
    return tempfile.TemporaryDirectory(prefix="mens-corpus-show-")


def _counts(manifest: manifests.Manifest) -> dict[str, Any]:
    found = manifest.details.get("accounting")
    return dict(found) if isinstance(found, dict) else {}


def _row(stem: str, row: dict[str, Any]) -> Iterator[str]:
    place = row["metadata"]
    yield ""
    yield f"--- {stem} {row['id']} {row['source']}:{place['path']}:{place.get('line')} " + (
        f"{row['lane']} {row['license']}"
    )
    yield row["prompt"]
    yield f"=> {row['response']}"
    yield json.dumps(place)
