"""Licenses and notices of the parents in the adapter's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mens.artifacts import errors, manifests, publisher, reader, refs
from mens.provenance import licenses, notice, obligations
from mens_trainer import publish
from tests.support import faulty_stores, memory_store
from tests.support import manifests as some

BUCKET = refs.Uri("mens")
OWN = b"Acme Base Model\nCopyright 2025 Acme. This product includes data by Example GmbH.\n\n"


def parent(
    store: memory_store.MemoryStore, role: manifests.Role, at: Path, files: dict[str, bytes]
) -> publish.Parent:
    """Publish an Apache-2.0 artifact."""
    text = some.APACHE.read_bytes()
    found = licenses.conclude("Apache-2.0", licenses.identify(text))
    folder = some.folder(at / role, files | {"LICENSES/Apache-2.0.txt": text})
    draft = some.draft(f"acme/{role.lower()}", compliance=obligations.of(found, [text]))
    ref = publisher.publish(store, BUCKET / role.lower(), folder, draft)
    return publish.Parent(role, ref, manifests.read(store, ref)[0])


def test_notices_of_the_parents_are_included(tmp_path: Path) -> None:
    """The adapter's NOTICE contains those of base and corpus verbatim (Apache-2.0 4(d))."""
    store = memory_store.MemoryStore(["mens"])
    base = parent(store, manifests.Role.BASE, tmp_path, {"NOTICE.txt": OWN, "config.json": b"{}"})
    corpus = parent(store, manifests.Role.CORPUS, tmp_path, {"NOTICE": b"of rows\xff"})
    manifest = some.draft(
        "adapter",
        kind=manifests.Kind.ADAPTER,
        inputs=(base.to_input(), corpus.to_input()),
        compliance=obligations.join([base.manifest.compliance, corpus.manifest.compliance]),
        details={
            "method": "Lora", "rank": 1, "alpha": 1, "steps": 1, "supervisedTokens": 1,
            "heldOutLoss": {"before": 2.0, "after": 1.0}, "preflightDigest": "sha256:0",
        },
    )  # fmt: skip
    adapter = some.folder(tmp_path / "adapter", {"adapter_config.json": json.dumps({}).encode()})
    parents = [base, corpus]
    texts = publish.read_license_texts(store, parents)
    publish.complete_folder(adapter, manifest, texts, publish.read_notices(store, parents))
    text = (adapter / notice.FILE_NAME).read_bytes()
    assert b"\n--- NOTICE.txt of acme/base\n" + OWN.rstrip() + b"\n" in text
    assert text.endswith(b"\n--- NOTICE of acme/corpus\nof rows\xff\n")
    assert text.startswith(b"adapter\n=======\n")


def test_a_damaged_notice_is_refused(tmp_path: Path) -> None:
    """Notices are verified before they are included."""
    store = faulty_stores.LyingStore(faulty_stores.flip)
    store.armed = False
    base = parent(store, manifests.Role.BASE, tmp_path, {"NOTICE": OWN})
    store.armed = True
    with pytest.raises(errors.DigestMismatch):
        publish.read_notices(store, [base])


def test_a_base_without_a_notice_adds_none(tmp_path: Path) -> None:
    """A file whose name only begins with NOTICE is not one."""
    store = memory_store.MemoryStore(["mens"])
    base = parent(store, manifests.Role.BASE, tmp_path, {"NOTICE_of_rates.csv": b"1"})
    assert publish.read_notices(store, [base]) == ()
    files = notice.assemble("x", some.compliance(), {})
    assert b"---" not in files[notice.FILE_NAME]
    assert reader.verify(store, base.ref) == base.manifest
