"""Reading an artifact: no byte is used before it was compared with what the manifest says."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mens.artifacts import digests, errors, layout, manifests, names, publisher, refs, store


def fetch(
    source: store.ObjectStore,
    ref: refs.ArtifactRef,
    into: Path,
    only: Sequence[str] | None = None,
    *,
    threads: int = publisher.THREADS,
    progress: publisher.Progress | None = None,
) -> manifests.Manifest:
    """Bring an artifact's files into a local folder; what is there and right stays.

    Args:
        source: Where the artifact lies.
        ref: The artifact and the digest it must have.
        into: Local folder; made if missing.
        only: Globs over the whole path (`*` also matches slashes); None brings all files.
        threads: Downloads at a time.
        progress: Told bytes done and in all.

    Returns:
        The verified manifest, of all files.
    """
    manifest, _ = manifests.read(source, ref)
    wanted = list(select(manifest, only))
    for file in wanted:
        names.refuse_pickle(file.path)
    into.mkdir(parents=True, exist_ok=True)
    meter = publisher.Meter(sum(file.size_bytes for file in wanted), progress)
    publisher.in_parallel(
        lambda file: _fetch_file(source, ref.uri, file, into, meter), wanted, threads
    )
    return manifest


def check(source: store.ObjectStore, ref: refs.ArtifactRef) -> manifests.Manifest:
    """Verify the manifest's digest and that every blob is there with its size; reads no blob.

    Cheap enough to decide whether a run succeeded; whoever uses the bytes verifies them anyway.
    """
    manifest, _ = manifests.read(source, ref)
    for file in manifest.files:
        info = source.head(layout.blob(ref.uri, file.digest))
        if info is None:
            raise errors.ObjectNotFound(_missing(ref.uri, file))
        if info.size != file.size_bytes:
            raise errors.DigestMismatch(_damaged(ref.uri, file, f"{info.size} bytes"))
    return manifest


def verify(
    source: store.ObjectStore,
    ref: refs.ArtifactRef,
    *,
    threads: int = publisher.THREADS,
    progress: publisher.Progress | None = None,
) -> manifests.Manifest:
    """Read every byte and compare; nothing is kept."""
    manifest, _ = manifests.read(source, ref)
    meter = publisher.Meter(manifest.size_bytes, progress)

    def one(file: manifests.File) -> None:
        for chunk in verified(source, ref.uri, file):
            meter.add(len(chunk))

    publisher.in_parallel(one, manifest.files, threads)
    return manifest


def read_file(
    source: store.ObjectStore,
    ref_uri: refs.Uri,
    file: manifests.File,
    *,
    max_bytes: int = store.SMALL,
) -> bytes:
    """The verified bytes of one small file of an artifact."""
    if file.size_bytes > max_bytes:
        raise errors.ManifestInvalid(
            store.too_large(layout.blob(ref_uri, file.digest), file.size_bytes, max_bytes)
        )
    return b"".join(verified(source, ref_uri, file))


def verified(source: store.ObjectStore, ref_uri: refs.Uri, file: manifests.File) -> Iterator[bytes]:
    """The bytes of a file in chunks; `DigestMismatch` at the end, or as soon as there are too many.

    Whoever writes the chunks somewhere must not use them before the iterator is exhausted.
    """
    hasher = digests.Hasher()
    try:
        for chunk in hasher.through(source.open(layout.blob(ref_uri, file.digest))):
            if hasher.size > file.size_bytes:
                raise errors.DigestMismatch(_damaged(ref_uri, file, "more bytes"))
            yield chunk
    except errors.ObjectNotFound as e:
        raise errors.ObjectNotFound(_missing(ref_uri, file)) from e
    if hasher.size != file.size_bytes:
        raise errors.DigestMismatch(_damaged(ref_uri, file, f"{hasher.size} bytes"))
    if hasher.digest() != file.digest:
        raise errors.DigestMismatch(_damaged(ref_uri, file, f"digest {hasher.digest()}"))


def select(manifest: manifests.Manifest, only: Iterable[str] | None) -> Iterator[manifests.File]:
    """The files whose whole path matches one of the globs; None means all."""
    globs = None if only is None else list(only)
    for file in manifest.files:
        if globs is None or any(fnmatch.fnmatchcase(file.path, glob) for glob in globs):
            yield file


def _fetch_file(
    source: store.ObjectStore,
    ref_uri: refs.Uri,
    file: manifests.File,
    into: Path,
    meter: publisher.Meter,
) -> None:
    target = _inside(into, file.path)
    if _is_right(target, file):
        meter.add(file.size_bytes)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # The thread's number keeps two files with the same bytes from sharing a temporary name.
    temporary = target.with_name(f".{file.digest.short}.{threading.get_ident()}.part")
    try:
        with temporary.open("wb") as out:
            for chunk in verified(source, ref_uri, file):
                out.write(chunk)
                meter.add(len(chunk))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _inside(into: Path, name: str) -> Path:
    """The path below `into`; a link in the local folder that leads out of it is refused too."""
    target = into / names.relative(name)
    if not target.parent.resolve().is_relative_to(into.resolve()):
        raise errors.NameRefused(
            f"{name!r} would be written outside of the folder; remove the link that leads there"
        )
    return target


def _is_right(path: Path, file: manifests.File) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    return digests.Digest.of_file(path) == file.digest


def _missing(uri: refs.Uri, file: manifests.File) -> str:
    return f"{file.path} of {uri} is gone: its blob {file.digest} does not exist; publish it again"


def _damaged(uri: refs.Uri, file: manifests.File, found: str) -> str:
    return (
        f"{file.path} of {uri} should have {file.size_bytes} bytes with digest {file.digest}, but "
        f"the store gave {found}: it was damaged or replaced; restore it or publish it again"
    )
