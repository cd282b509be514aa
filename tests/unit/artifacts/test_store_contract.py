"""The contract of `store.ObjectStore`: the same facts for the store in memory and for real S3."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mens.artifacts import digests, errors, publisher, reader, refs, s3, store, transfers
from tests.support import manifests as some
from tests.support import memory_store


@dataclass(frozen=True)
class Place:
    """A store and an empty bucket in it."""

    store: store.ObjectStore
    bucket: refs.Uri


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each test runs on both stores."""
    if request.param == "memory":
        yield Place(memory_store.MemoryStore(["mens"]), refs.Uri("mens"))
    else:
        yield Place(request.getfixturevalue("s3_store"), request.getfixturevalue("bucket"))


def test_bytes_come_back(place: Place) -> None:
    """What was written is read, and a second write replaces it."""
    uri = place.bucket / "a/b.json"
    assert place.store.put_bytes(uri, b"one")
    assert place.store.put_bytes(uri, b"two")
    assert place.store.get_bytes(uri) == b"two"
    assert b"".join(place.store.open(uri)) == b"two"
    assert place.store.head(uri) == store.ObjectInfo(uri, 3)


def test_empty_object(place: Place) -> None:
    """An object may have no bytes at all."""
    uri = place.bucket / "empty"
    place.store.put_bytes(uri, b"")
    assert place.store.get_bytes(uri) == b""
    assert place.store.head(uri) == store.ObjectInfo(uri, 0)


def test_if_absent(place: Place) -> None:
    """A conditional write says no to the second writer and leaves the first one's bytes."""
    uri = place.bucket / "pointer"
    assert place.store.put_bytes(uri, b"first", if_absent=True) is True
    assert place.store.put_bytes(uri, b"second", if_absent=True) is False
    assert place.store.get_bytes(uri) == b"first"


def test_absent_object(place: Place) -> None:
    """An absent object is None from head and an error with its name from the others."""
    uri = place.bucket / "nothing"
    assert place.store.head(uri) is None
    for read in (place.store.get_bytes, lambda u: list(place.store.open(u))):
        with pytest.raises(errors.ObjectNotFound, match=r"s3://.*/nothing does not exist"):
            read(uri)


def test_absent_bucket(place: Place) -> None:
    """A bucket that does not exist is said to be missing, not its objects."""
    bucket = refs.Uri(f"missing-{uuid.uuid4().hex[:8]}")
    with pytest.raises(errors.BucketNotFound, match="create it"):
        place.store.put_bytes(bucket / "x", b"")
    with pytest.raises(errors.BucketNotFound):
        place.store.get_bytes(bucket / "x")
    with pytest.raises(errors.BucketNotFound):
        list(place.store.list(bucket))
    with pytest.raises(errors.BucketNotFound):
        place.store.probe(bucket)


def test_too_large(place: Place) -> None:
    """Nothing larger than asked for is taken into memory."""
    uri = place.bucket / "large"
    place.store.put_bytes(uri, b"x" * 100)
    with pytest.raises(errors.ManifestInvalid, match="more than the 99"):
        place.store.get_bytes(uri, max_bytes=99)
    assert place.store.get_bytes(uri, max_bytes=100) == b"x" * 100


def test_list_is_of_a_folder(place: Place) -> None:
    """Listing means below a folder: a neighbor whose name begins alike is not in it."""
    for key in ("docs/a", "docs/b/c", "docs2/x", "docs"):
        if key != "docs" or isinstance(place.store, memory_store.MemoryStore):
            place.store.put_bytes(place.bucket / key, key.encode())
    found = {info.uri.key: info.size for info in place.store.list(place.bucket / "docs")}
    assert found == {"docs/a": 6, "docs/b/c": 8}
    assert dict(place.store.keys(place.bucket / "docs")) == found


def test_list_of_many(place: Place) -> None:
    """More objects than one answer of S3 holds are all listed."""
    keys = {f"many/{number:04d}" for number in range(1005)}
    transfers.for_each(sorted(keys), lambda key: place.store.put_bytes(place.bucket / key, b"x"), 8)
    assert {info.uri.key for info in place.store.list(place.bucket / "many")} == keys


def test_delete_twice(place: Place) -> None:
    """Removing what is not there is no error."""
    uri = place.bucket / "gone"
    place.store.put_bytes(uri, b"x")
    place.store.delete(uri)
    place.store.delete(uri)
    assert place.store.head(uri) is None


@pytest.mark.parametrize("size", [0, 5, 70 * 1024 * 1024], ids=["empty", "small", "multipart"])
def test_put_file(place: Place, tmp_path: Path, size: int) -> None:
    """A file arrives whole, in one piece or in parts."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    digest, uri = digests.Digest.of_file(path), place.bucket / "file"
    place.store.put_file(uri, path, digest)
    hasher = digests.Hasher()
    for _ in hasher.through(place.store.open(uri)):
        pass
    assert (hasher.size, hasher.digest()) == (size, digest)


@pytest.mark.parametrize("size", [5, 40 * 1024 * 1024], ids=["small", "multipart"])
def test_put_file_that_changed(place: Place, tmp_path: Path, size: int) -> None:
    """A file that is no longer what was announced does not become visible."""
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)
    digest = digests.Digest.of_file(path)
    path.write_bytes(b"b" * size)
    with pytest.raises(errors.DigestMismatch, match="file changed while it was being published"):
        place.store.put_file(place.bucket / "file", path, digest)
    assert place.store.head(place.bucket / "file") is None


def test_publish_and_fetch(place: Place, tmp_path: Path) -> None:
    """Publishing and fetching a folder gives the same folder, and publishing again the same ref."""
    files = {"config.json": b"{}", "LICENSES/MIT.txt": b"text", "model.safetensors": b"\0" * 4096}
    folder = some.folder(tmp_path / "in", files)
    where = place.bucket / "models/tiny/1"
    ref = publisher.publish(place.store, where, folder, some.draft())
    assert publisher.publish(place.store, where, folder, some.draft()) == ref
    manifest = reader.fetch(place.store, ref, tmp_path / "out")
    assert {p: (tmp_path / "out" / p).read_bytes() for p in files} == files
    assert manifest == reader.check(place.store, ref) == reader.verify(place.store, ref)


def test_probe(place: Place) -> None:
    """Both stores honor conditional writes, and say so."""
    assert place.store.probe(place.bucket / "below") == store.Probe(
        place.bucket, writable=True, conditional_writes=True
    )


def test_simultaneous_publishers(place: Place, tmp_path: Path) -> None:
    """Of many publishers of one folder one wins, and all get its reference."""

    def publish(number: int) -> refs.ArtifactRef:
        folder = some.folder(tmp_path / str(number), {"a": str(number).encode()})
        return publisher.publish(place.store, place.bucket / "runs/u/k", folder, some.draft())

    found = transfers.for_each(range(6), publish, 6)
    assert len(set(found)) == 1
    assert len(reader.verify(place.store, found[0]).files) == 1


@pytest.mark.s3
def test_s3_store_is_one(s3_store: s3.S3Store) -> None:
    """The client satisfies the protocol as a type checker sees it."""
    checked: store.ObjectStore = s3_store
    assert checked is s3_store
