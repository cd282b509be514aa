"""Reads artifacts: no byte is used before it is compared with the digest in the manifest."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mens.artifacts import digests, errors, layout, manifests, names, refs, store, transfers


def fetch(
    source: store.ObjectStore,
    ref: refs.ArtifactRef,
    into: Path,
    only: Sequence[str] | None = None,
    *,
    manifest: manifests.Manifest | None = None,
    threads: int = transfers.THREADS,
    progress: transfers.Progress | None = None,
) -> manifests.Manifest:
    """Fetch the files of an artifact into a local folder; valid local files are kept.

    Args:
        source: The store that holds the artifact.
        ref: The artifact and its digest.
        into: Local folder; created if missing.
        only: Globs over the whole path (`*` also matches slashes). None fetches all files.
        manifest: The manifest, if `manifests.read` has verified it for `ref` already; it is not
            read again then.
        threads: Number of parallel downloads.
        progress: Called with bytes done and bytes in total.

    Returns:
        The verified manifest, with all files.
    """
    if manifest is None:
        manifest, _ = manifests.read(source, ref)
    wanted = list(select(manifest, only))
    for file in wanted:
        names.refuse_pickle(file.path)
    into.mkdir(parents=True, exist_ok=True)
    meter = transfers.Meter(sum(file.size_bytes for file in wanted), progress)
    transfers.for_each(
        wanted, lambda file: _fetch_file(source, ref.uri, file, into, meter), threads
    )
    return manifest


def check(source: store.ObjectStore, ref: refs.ArtifactRef) -> manifests.Manifest:
    """Verify the digest of the manifest, and the presence and size of every blob; read no blob.

    This is cheap enough to decide whether a run succeeded. Every reader verifies the bytes again.
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
    threads: int = transfers.THREADS,
    progress: transfers.Progress | None = None,
) -> manifests.Manifest:
    """Read every byte and compare it with its digest; keep nothing."""
    manifest, _ = manifests.read(source, ref)
    meter = transfers.Meter(manifest.size_bytes, progress)

    def one(file: manifests.File) -> None:
        for chunk in verified(source, ref.uri, file):
            meter.add(len(chunk))

    transfers.for_each(manifest.files, one, threads)
    return manifest


def read_file(
    source: store.ObjectStore,
    ref_uri: refs.Uri,
    file: manifests.File,
    *,
    max_bytes: int = store.SMALL,
) -> bytes:
    """Return the verified bytes of one small file of an artifact."""
    if file.size_bytes > max_bytes:
        raise errors.ManifestInvalid(
            store.too_large(layout.blob(ref_uri, file.digest), file.size_bytes, max_bytes)
        )
    return b"".join(verified(source, ref_uri, file))


def verified(source: store.ObjectStore, ref_uri: refs.Uri, file: manifests.File) -> Iterator[bytes]:
    """Yield the bytes of a file in chunks.

    Do not use the chunks before the iterator is exhausted: only then the digest is verified.

    Raises:
        DigestMismatch: At the end, or as soon as there are too many bytes.
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
    """Yield the files whose whole path matches one of the globs; None selects all files."""
    globs = None if only is None else list(only)
    for file in manifest.files:
        if globs is None or any(fnmatch.fnmatchcase(file.path, glob) for glob in globs):
            yield file


def _fetch_file(
    source: store.ObjectStore,
    ref_uri: refs.Uri,
    file: manifests.File,
    into: Path,
    meter: transfers.Meter,
) -> None:
    target = _inside(into, file.path)
    if _is_right(target, file):
        meter.add(file.size_bytes)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # The number of the thread keeps two files with the same bytes from sharing a temporary name.
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
    """Return the path below `into`; reject a link in the local folder that leads out of it."""
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
    return (
        f"{file.path} of {uri} is missing: its blob {file.digest} does not exist; publish the "
        "artifact again"
    )


def _damaged(uri: refs.Uri, file: manifests.File, found: str) -> str:
    return (
        f"{file.path} of {uri} should have {file.size_bytes} bytes with digest {file.digest}, but "
        f"the store gave {found}: it was damaged or replaced; restore it or publish it again"
    )
