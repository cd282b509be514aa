"""Facts about publishing: visible at once or not at all, and never something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mens.artifacts import digests, errors, layout, manifests, publisher, reader, refs, transfers
from tests.support import faulty_stores, memory_store
from tests.support import manifests as some

WHERE = refs.Uri("mens", "runs/uid/key")
SEGMENTS = st.text("abcXYZ019._- é漢", min_size=1, max_size=8).filter(
    lambda s: s.strip() == s and s not in {".", ".."}
)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


def unambiguous(files: dict[str, bytes]) -> bool:
    return not any(a != b and b.startswith(a + "/") for a in files for b in files)


FOLDERS = (
    st.dictionaries(PATHS, st.binary(max_size=64), min_size=1, max_size=5)
    .filter(unambiguous)
    .filter(lambda files: not set(files) & manifests.RESERVED)
)


@settings(max_examples=40, deadline=None)
@given(files=FOLDERS)
def test_identity(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    """For every folder, fetching what was published gives that folder."""
    base = tmp_path_factory.mktemp("identity")
    store = memory_store.MemoryStore(["mens"])
    ref = publisher.publish(store, WHERE, some.folder(base / "in", files), some.draft())
    reader.fetch(store, ref, base / "out")
    found = {
        path.relative_to(base / "out").as_posix(): path.read_bytes()
        for path in (base / "out").rglob("*")
        if path.is_file()
    }
    assert found == files


@settings(max_examples=25, deadline=None)
@given(files=FOLDERS)
def test_a_crash_before_any_write(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    """Dying before the k-th write, for every k, leaves no artifact; a retry then completes it."""
    folder = some.folder(tmp_path_factory.mktemp("crash"), files)
    whole = faulty_stores.CrashingStore()
    expected = publisher.publish(whole, WHERE, folder, some.draft(), threads=1)
    for survived in range(whole.writes):
        store = faulty_stores.CrashingStore()
        store.writes_left = survived
        with pytest.raises(faulty_stores.CrashedError):
            publisher.publish(store, WHERE, folder, some.draft(), threads=1)
        assert publisher.existing(store, WHERE) is None
        store.writes_left = 10**9
        assert publisher.publish(store, WHERE, folder, some.draft(), threads=1) == expected
        assert store.writes == whole.writes, "what had arrived was not sent again"
        reader.verify(store, expected)


def test_the_manifest_is_the_last_write(tmp_path: Path) -> None:
    """Every blob is there before the manifest is."""
    store = faulty_stores.CrashingStore()
    store.writes_left = 2
    folder = some.folder(tmp_path, {"a": b"1", "b": b"2"})
    with pytest.raises(faulty_stores.CrashedError):
        publisher.publish(store, WHERE, folder, some.draft())
    assert all(info.uri.key.startswith("blobs/") for info in store.list(refs.Uri("mens")))


def test_first_manifest_wins(tmp_path: Path) -> None:
    """Who comes second with something else gets back what was there first."""
    store = memory_store.MemoryStore(["mens"])
    first = some.folder(tmp_path / "1", {"a": b"1"})
    second = some.folder(tmp_path / "2", {"a": b"2"})
    ref = publisher.publish(store, WHERE, first, some.draft())
    assert publisher.publish(store, WHERE, second, some.draft()) == ref


def test_a_store_that_ignores_conditions(tmp_path: Path) -> None:
    """Where conditions are ignored, the reference returned is still what lies there."""
    store = faulty_stores.UnconditionalStore()
    ref = publisher.publish(store, WHERE, some.folder(tmp_path, {"a": b"1"}), some.draft())
    assert manifests.read(store, WHERE)[1] == ref.digest


def test_a_store_that_loses_bytes(tmp_path: Path) -> None:
    """A blob that arrived short is noticed before the manifest is written."""
    store = faulty_stores.ForgetfulStore()
    with pytest.raises(errors.DigestMismatch, match="the store loses bytes"):
        publisher.publish(store, WHERE, some.folder(tmp_path, {"a": b"1234"}), some.draft())
    assert publisher.existing(store, WHERE) is None


def test_equal_files_are_one_blob(tmp_path: Path) -> None:
    """Two files with the same bytes are stored once and come back as two."""
    store = memory_store.MemoryStore(["mens"])
    folder = some.folder(tmp_path / "in", {"a": b"same", "b/c": b"same"})
    ref = publisher.publish(store, WHERE, folder, some.draft())
    assert len(list(store.list(refs.Uri("mens", "blobs")))) == 1
    reader.fetch(store, ref, tmp_path / "out")
    assert (tmp_path / "out/b/c").read_bytes() == b"same"


def blob_of(data: bytes) -> refs.Uri:
    return layout.blob(WHERE, digests.Digest.of_bytes(data))


def test_no_artifact_rests_on_bytes_that_were_damaged_before(tmp_path: Path) -> None:
    """A blob that is there with the right size and the wrong bytes is replaced, not believed."""
    store = memory_store.MemoryStore(["mens"])
    store.put_bytes(blob_of(b"good"), b"evil")
    ref = publisher.publish(store, WHERE, some.folder(tmp_path, {"a": b"good"}), some.draft())
    reader.verify(store, ref)


@pytest.mark.parametrize("damage", [b"evil", b"goo", b"good and more", None])
def test_publishing_again_repairs(tmp_path: Path, damage: bytes | None) -> None:
    """What was lost or damaged below a manifest is there again after publishing it again."""
    store = memory_store.MemoryStore(["mens"])
    folder = some.folder(tmp_path, {"a": b"good", "b": b"fine"})
    ref = publisher.publish(store, WHERE, folder, some.draft())
    store.delete(blob_of(b"good"))
    if damage is not None:
        store.put_bytes(blob_of(b"good"), damage)
    with pytest.raises((errors.DigestMismatch, errors.ObjectNotFound)):
        reader.verify(store, ref)
    assert publisher.publish(store, WHERE, folder, some.draft()) == ref
    reader.verify(store, ref)


def test_publishing_again_writes_nothing_that_is_right(tmp_path: Path) -> None:
    """Repeating costs reading, not writing; so does a second artifact of the same bytes."""
    store = faulty_stores.CrashingStore()
    folder = some.folder(tmp_path, {"a": b"good", "b": b"fine"})
    publisher.publish(store, WHERE, folder, some.draft())
    before = store.writes
    publisher.publish(store, WHERE, folder, some.draft())
    assert store.writes == before
    publisher.publish(store, refs.Uri("mens", "runs/uid/other"), folder, some.draft())
    assert store.writes == before + 1, "its manifest"


def test_what_differs_is_not_uploaded(tmp_path: Path) -> None:
    """Publishing something else to a folder that is taken adds none of its bytes to the bucket."""
    store = memory_store.MemoryStore(["mens"])
    first = some.folder(tmp_path / "1", {"a": b"1", "same": b"s"})
    publisher.publish(store, WHERE, first, some.draft())
    second = some.folder(tmp_path / "2", {"a": b"2", "same": b"s"})
    publisher.publish(store, WHERE, second, some.draft())
    assert store.head(blob_of(b"2")) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.bin", errors.PickleRefused),
        ("sub/Weights.PT", errors.PickleRefused),
        ("x.ckpt", errors.PickleRefused),
        ("x.joblib", errors.PickleRefused),
        ("manifest.json", errors.NameRefused),
        ("progress.json", errors.NameRefused),
        ("a\\b", errors.NameRefused),
        ("new\nline", errors.NameRefused),
        ("right\u202eleft", errors.NameRefused),
    ],
)
def test_refused_files(tmp_path: Path, name: str, expected: type[errors.StoreError]) -> None:
    """Pickles, reserved names and unprintable names are refused before anything is written."""
    store = faulty_stores.CrashingStore()
    folder = some.folder(tmp_path, {"a": b"1", name: b"2"})
    with pytest.raises(expected):
        publisher.publish(store, WHERE, folder, some.draft())
    assert store.writes == 0


def test_links_are_refused(tmp_path: Path) -> None:
    """A link is refused: what it points to may not be meant to be published."""
    folder = some.folder(tmp_path / "in", {"a": b"1"})
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(errors.NameRefused, match="is a link"):
        publisher.publish(memory_store.MemoryStore(["mens"]), WHERE, folder, some.draft())


def test_an_empty_folder(tmp_path: Path) -> None:
    """There is no artifact without a file."""
    with pytest.raises(errors.ManifestInvalid, match="nothing to publish"):
        publisher.publish(memory_store.MemoryStore(["mens"]), WHERE, tmp_path, some.draft())


def test_progress(tmp_path: Path) -> None:
    """Progress counts up to all bytes, publishing and fetching."""
    store = memory_store.MemoryStore(["mens"])
    folder = some.folder(tmp_path / "in", {"a": b"1" * 10, "b": b"2" * 20})
    seen: list[tuple[int, int]] = []
    ref = publisher.publish(
        store, WHERE, folder, some.draft(), progress=lambda done, all_: seen.append((done, all_))
    )
    assert seen[-1] == (30, 30)
    seen.clear()
    reader.fetch(
        store, ref, tmp_path / "out", progress=lambda done, all_: seen.append((done, all_))
    )
    assert seen[-1] == (30, 30)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_after_an_error_nothing_new_is_started() -> None:
    """The first error ends the work: what waits is dropped, and the error is the one that was."""
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        if number == 1:
            raise errors.StoreUnreachable("gone")
        return number

    with pytest.raises(errors.StoreUnreachable, match="gone"):
        transfers.for_each(range(10_000), work, 1)
    assert started == [0, 1]
    assert transfers.for_each([2, 3], work, 4) == [2, 3]
