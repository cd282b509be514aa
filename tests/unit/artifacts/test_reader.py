"""Facts about reading: nothing is used that is not what the manifest says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mens.artifacts import digests, errors, layout, manifests, publisher, reader, refs, s3
from tests.support import faulty_stores, memory_store
from tests.support import manifests as some
from tests.support.s3 import S3Server

WHERE = refs.Uri("mens", "runs/uid/key")


def published(
    store: memory_store.MemoryStore, base: Path, files: dict[str, bytes]
) -> refs.ArtifactRef:
    return publisher.publish(store, WHERE, some.folder(base / "in", files), some.draft())


@pytest.mark.parametrize(
    "damage", [faulty_stores.truncate, faulty_stores.flip, faulty_stores.append]
)
def test_a_lying_store(tmp_path: Path, damage: faulty_stores.Damage) -> None:
    """A store that loses, turns or adds bytes is found out, and no file is left behind."""
    store = faulty_stores.LyingStore(damage)
    ref = published(store, tmp_path, {"a": b"0123456789"})
    damaged = pytest.raises(errors.DigestMismatch, match="restore it or publish it again")
    with damaged:
        reader.fetch(store, ref, tmp_path / "out")
    with damaged:
        reader.verify(store, ref)
    assert list((tmp_path / "out").iterdir()) == []
    store.armed = False
    reader.fetch(store, ref, tmp_path / "out")
    assert (tmp_path / "out/a").read_bytes() == b"0123456789"


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=200), at=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, bit: int
) -> None:
    """Whichever bit of a blob or of the manifest is turned, reading says DigestMismatch."""
    base = tmp_path_factory.mktemp("flip")
    store = memory_store.MemoryStore(["mens"])
    ref = published(store, base, {"a": data})
    for uri in (layout.blob(WHERE, digests.Digest.of_bytes(data)), layout.manifest(WHERE)):
        original = store.get_bytes(uri)
        turned = bytearray(original)
        turned[at % len(turned)] ^= 1 << bit
        store.put_bytes(uri, bytes(turned))
        with pytest.raises(errors.DigestMismatch):
            reader.fetch(store, ref, base / "out")
        store.put_bytes(uri, original)


def test_a_missing_blob(tmp_path: Path) -> None:
    """A blob that is gone is named with the file it belongs to."""
    store = memory_store.MemoryStore(["mens"])
    ref = published(store, tmp_path, {"weights": b"1"})
    store.delete(layout.blob(WHERE, digests.Digest.of_bytes(b"1")))
    for read in (reader.check, reader.verify):
        with pytest.raises(
            errors.ObjectNotFound, match=r"weights of s3://mens/runs/uid/key is missing"
        ):
            read(store, ref)


def test_a_replaced_manifest(tmp_path: Path) -> None:
    """A reference holds one manifest; another one in its place is refused."""
    store = memory_store.MemoryStore(["mens"])
    ref = published(store, tmp_path, {"a": b"1"})
    store.put_bytes(layout.manifest(WHERE), some.draft("other").to_bytes())
    with pytest.raises(errors.DigestMismatch, match="was replaced or damaged"):
        reader.fetch(store, ref, tmp_path / "out")


def test_what_is_there_stays(tmp_path: Path) -> None:
    """Files that are here and right are not read again; a wrong one is replaced."""
    store = memory_store.MemoryStore(["mens"])
    ref = published(store, tmp_path, {"kept": b"same", "wrong": b"good"})
    out = some.folder(tmp_path / "out", {"kept": b"same", "wrong": b"evil"})
    store.delete(layout.blob(WHERE, digests.Digest.of_bytes(b"same")))
    reader.fetch(store, ref, out)
    assert (out / "wrong").read_bytes() == b"good"


def test_only_some_files(tmp_path: Path) -> None:
    """Globs match the whole path, and the manifest still lists all files."""
    store = memory_store.MemoryStore(["mens"])
    ref = published(
        store, tmp_path, {"config.json": b"1", "LICENSES/MIT.txt": b"2", "x.bin2": b"3"}
    )
    manifest = reader.fetch(store, ref, tmp_path / "out", only=["*.json", "LICENSES/*"])
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "MIT.txt",
        "config.json",
    ]
    assert len(manifest.files) == 3


def forged(store: memory_store.MemoryStore, path: str, data: bytes = b"x") -> refs.ArtifactRef:
    """A manifest that our own classes would not write."""
    digest = digests.Digest.of_bytes(data)
    store.put_bytes(layout.blob(WHERE, digest), data)
    good = some.draft().with_files([manifests.File(path="NAME", digest=digest, size_bytes=1)])
    text = good.to_bytes().decode().replace('"path":"NAME"', f'"path":"{path}"')
    store.put_bytes(layout.manifest(WHERE), text.encode())
    return refs.ArtifactRef(uri=WHERE, digest=digests.Digest.of_bytes(text.encode()))


@pytest.mark.parametrize(
    "path", ["../evil", "/etc/evil", "a/../../evil", "a//b", ".", "", "a\\\\b"]
)
def test_names_that_leave_the_folder(tmp_path: Path, path: str) -> None:
    """A manifest with a name that could leave the folder is invalid, whatever its digest."""
    store = memory_store.MemoryStore(["mens"])
    with pytest.raises(errors.ManifestInvalid, match="path"):
        reader.fetch(store, forged(store, path), tmp_path / "out")


def test_pickles_are_refused(tmp_path: Path) -> None:
    """A manifest that names a pickle is refused before any byte of it is written."""
    store = memory_store.MemoryStore(["mens"])
    with pytest.raises(errors.PickleRefused, match="convert the weights to safetensors") as caught:
        reader.fetch(store, forged(store, "pytorch_model.bin"), tmp_path / "out")
    assert caught.value.reason == "PickleRefused"
    assert not (tmp_path / "out").exists()


def test_a_local_link_out_of_the_folder(tmp_path: Path) -> None:
    """A link in the local folder that leads elsewhere is not followed."""
    store = memory_store.MemoryStore(["mens"])
    ref = published(store, tmp_path, {"sub/a": b"1"})
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.NameRefused, match="outside of the folder"):
        reader.fetch(store, ref, tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_read_file(tmp_path: Path) -> None:
    """One small file can be read alone, verified, and a large one is refused."""
    store = memory_store.MemoryStore(["mens"])
    ref = published(store, tmp_path, {"NOTICE": b"hello"})
    file = manifests.read(store, ref)[0].file("NOTICE")
    assert file is not None
    assert reader.read_file(store, ref.uri, file) == b"hello"
    with pytest.raises(errors.ManifestInvalid, match="more than the 4"):
        reader.read_file(store, ref.uri, file, max_bytes=4)


@pytest.mark.s3
@pytest.mark.parametrize(
    "damage", [faulty_stores.truncate, faulty_stores.flip, faulty_stores.append]
)
def test_a_lying_proxy(
    s3_server: S3Server,
    s3_store: s3.S3Store,
    bucket: refs.Uri,
    tmp_path: Path,
    damage: faulty_stores.Damage,
) -> None:
    """Bytes damaged on the wire before a real server, with fitting headers, are noticed."""
    where = bucket / "models/tiny/1"
    folder = some.folder(tmp_path / "in", {"a": b"0123456789" * 1000})
    ref = publisher.publish(s3_store, where, folder, some.draft())
    with faulty_stores.lying_proxy(s3_server.endpoint) as proxy:
        through = s3.S3Store(s3_server.settings(endpoint=proxy.endpoint))
        reader.verify(through, ref)
        proxy.damage = damage
        with pytest.raises(errors.DigestMismatch):
            reader.fetch(through, ref, tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []
        proxy.damage = None
        reader.fetch(through, ref, tmp_path / "out")


@pytest.mark.s3
def test_a_proxy_that_drops_conditions(s3_server: S3Server, bucket: refs.Uri) -> None:
    """The probe tries conditions and does not believe: a proxy that drops them is found out."""
    with faulty_stores.lying_proxy(s3_server.endpoint) as proxy:
        through = s3.S3Store(s3_server.settings(endpoint=proxy.endpoint))
        assert through.probe(bucket).conditional_writes
        proxy.ignore_conditions = True
        assert not through.probe(bucket).conditional_writes


def test_a_size_that_is_not_true(tmp_path: Path) -> None:
    """A manifest whose size disagrees with its own digest is not followed."""
    store = memory_store.MemoryStore(["mens"])
    digest = digests.Digest.of_bytes(b"x")
    store.put_bytes(layout.blob(WHERE, digest), b"x")
    file = manifests.File(path="a", digest=digest, size_bytes=2)
    ref = publisher.write_manifest(store, WHERE, some.draft().with_files([file]))
    for read in (reader.check, reader.verify):
        with pytest.raises(errors.DigestMismatch, match="should have 2 bytes"):
            read(store, ref)
