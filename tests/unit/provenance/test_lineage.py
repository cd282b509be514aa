"""Facts about lineage: every input is in the tree, also one that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mens.artifacts import digests, errors, layout, manifests, publisher, refs
from mens.provenance import lineage
from tests.support import manifests as some
from tests.support import memory_store

BUCKET = refs.Uri("mens")


@pytest.fixture
def store() -> memory_store.MemoryStore:
    return memory_store.MemoryStore(["mens"])


def publish(
    store: memory_store.MemoryStore, tmp_path: Path, name: str, *inputs: manifests.Input
) -> refs.ArtifactRef:
    folder = some.folder(tmp_path / name, {"a": name.encode()})
    draft = some.draft(name, inputs=inputs)
    return publisher.publish(store, BUCKET / f"runs/{name}", folder, draft)


def as_input(role: manifests.Role, name: str, ref: refs.ArtifactRef) -> manifests.Input:
    return manifests.Input(
        role=role, name=name, uri=str(ref.uri), digest=ref.digest, license_expression="MIT"
    )


SOURCE = manifests.Input(
    role=manifests.Role.SOURCE,
    name="stdlib",
    uri="https://example.org/python.git",
    digest=digests.Digest.of_bytes(b""),
    license_expression="PSF-2.0",
)


def test_the_whole_tree(store: memory_store.MemoryStore, tmp_path: Path) -> None:
    """An adapter leads to its base and its corpus, and the corpus to its sources."""
    base = publish(store, tmp_path, "base")
    corpus = publish(store, tmp_path, "corpus", SOURCE)
    adapter = publish(
        store,
        tmp_path,
        "adapter",
        as_input(manifests.Role.BASE, "base", base),
        as_input(manifests.Role.CORPUS, "corpus", corpus),
    )
    tree = lineage.trace(adapter, lineage.reader(store))
    assert [(level, node.role, node.name, node.problem) for level, node in tree.walk()] == [
        (0, "Artifact", "adapter", ""),
        (1, "Base", "base", ""),
        (1, "Corpus", "corpus", ""),
        (2, "Source", "stdlib", ""),
    ]
    assert tree.digest == adapter.digest


def test_an_input_that_is_gone(store: memory_store.MemoryStore, tmp_path: Path) -> None:
    """An input that cannot be read stays in the tree, with its digest and its problem."""
    base = publish(store, tmp_path, "base")
    adapter = publish(store, tmp_path, "adapter", as_input(manifests.Role.BASE, "base", base))
    store.delete(layout.manifest(base.uri))
    node = lineage.trace(adapter, lineage.reader(store)).parents[0]
    assert (node.name, node.digest) == ("base", base.digest)
    assert node.problem.startswith("ObjectNotFound: ")


def test_an_input_that_was_replaced(store: memory_store.MemoryStore, tmp_path: Path) -> None:
    """Another artifact at the place of an input is not taken for it."""
    base = publish(store, tmp_path, "base")
    adapter = publish(store, tmp_path, "adapter", as_input(manifests.Role.BASE, "base", base))
    store.put_bytes(layout.manifest(base.uri), some.draft("other").to_bytes())
    assert "DigestMismatch" in lineage.trace(adapter, lineage.reader(store)).parents[0].problem


def test_the_artifact_itself_must_be_there(store: memory_store.MemoryStore) -> None:
    """Without the artifact that was asked about there is no tree."""
    ref = refs.ArtifactRef(uri=BUCKET / "none", digest=digests.Digest.of_bytes(b""))
    with pytest.raises(errors.ObjectNotFound):
        lineage.trace(ref, lineage.reader(store))


def test_a_long_chain_ends(store: memory_store.MemoryStore, tmp_path: Path) -> None:
    """A chain longer than anyone builds is cut off with a word about it."""
    ref = publish(store, tmp_path, "a0")
    for number in range(1, lineage.DEPTH + 3):
        given = as_input(manifests.Role.BASE, f"a{number - 1}", ref)
        ref = publish(store, tmp_path, f"a{number}", given)
    nodes = [node for _, node in lineage.trace(ref, lineage.reader(store)).walk()]
    assert len(nodes) == lineage.DEPTH + 1
    assert "not followed further" in nodes[-1].problem
