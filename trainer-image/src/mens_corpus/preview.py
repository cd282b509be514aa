"""A preview of a dataset: its accounting, its license and some rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from mens.artifacts import manifests, reader, refs, store
from mens_corpus import accounting, jsonl, selection


def describe(folder: Path, count: int) -> Iterator[str]:
    """Yield lines of text: accounting, license, and the first `count` rows of each split.

    Rows are ordered by their ids, which are hashes, so the first rows are a random sample.
    """
    manifest = manifests.Manifest.parse((folder / manifests.FILE_NAME).read_bytes())
    yield f"{manifest.name}  {manifest.details.get('fingerprint')}"
    yield f"license {manifest.compliance.license_expression} "
    yield from accounting.format_table(_accounting(manifest)).splitlines()
    for split in (selection.TRAIN, selection.VALIDATION):
        for line in itertools.islice(jsonl.read_lines(folder / f"{split}.jsonl.zst"), count):
            yield from _format_row(split, orjson.loads(line))


def fetch(objects: store.ObjectStore, uri: refs.Uri, into: Path) -> Path:
    """Download and verify a published dataset; returns its folder."""
    manifest, digest = manifests.read(objects, uri)
    reader.fetch(objects, refs.ArtifactRef(uri=uri, digest=digest), into, manifest=manifest)
    (into / manifests.FILE_NAME).write_bytes(manifest.to_bytes())
    return into


def _accounting(manifest: manifests.Manifest) -> dict[str, Any]:
    found = manifest.details.get("accounting")
    return dict(found) if isinstance(found, dict) else {}


def _format_row(split: str, row: dict[str, Any]) -> Iterator[str]:
    metadata = row["metadata"]
    yield ""
    yield f"--- {split} {row['id']} {row['source']}:{metadata['path']}:{metadata.get('line')} " + (
        f"{row['lane']} {row['license']}"
    )
    yield row["prompt"]
    yield f"=> {row['response']}"
    yield json.dumps(metadata)
