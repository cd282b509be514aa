"""Publishing a folder: blobs first, the manifest last, so that an artifact is there or is not.

A crash at any point leaves only blobs that nobody refers to; publishing again completes it and
uploads only what is missing or damaged, also below a manifest that is there. The first manifest in
a folder wins, whoever comes second gets it back.

Law: when `publish` returns, every blob that the manifest names and whose bytes the folder holds was
written by this call or read back by it; none is believed for having the right name and size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Final, TypeVar

from mens.artifacts import digests, errors, layout, manifests, names, refs, store

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all; from several threads, never two at a time."""

THREADS: Final = 4
"""Transfers at a time; more did not help against one server and cost a buffer each."""


class Meter:
    """Adds up bytes from several threads and tells one listener."""

    def __init__(self, total: int, tell: Progress | None) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._total = total
        self._tell = tell

    def add(self, count: int) -> None:
        """Count some more bytes."""
        if self._tell is None:
            return
        with self._lock:
            self._done += count
            self._tell(self._done, self._total)


def publish(
    target: store.ObjectStore,
    folder_uri: refs.Uri,
    folder: Path,
    draft: manifests.Manifest,
    *,
    threads: int = THREADS,
    progress: Progress | None = None,
) -> refs.ArtifactRef:
    """Publish all files below `folder` as the artifact `folder_uri`.

    Args:
        target: Where to publish.
        folder_uri: The artifact's folder.
        folder: Local folder; no links, no pickles by name, no reserved names.
        draft: All facts but the files.
        threads: Uploads at a time.
        progress: Told bytes done and in all.

    Returns:
        Reference to what now lies there: ours, or the manifest that was there first.
    """
    return publish_files(
        target,
        folder_uri,
        dict(local_files(folder)),
        draft,
        threads=threads,
        progress=progress,
    )


def publish_files(
    target: store.ObjectStore,
    folder_uri: refs.Uri,
    paths: Mapping[str, Path],
    draft: manifests.Manifest,
    *,
    threads: int = THREADS,
    progress: Progress | None = None,
    described: Sequence[manifests.File] | None = None,
) -> refs.ArtifactRef:
    """Publish files from anywhere, by the name that each has in the artifact; see `publish`.

    `described` is what `describe_all` has said of the same paths, so that it is not asked again.
    """
    files = described if described is not None else describe_all(paths, threads=threads)
    present = existing(target, folder_uri)
    named = files if present is None else manifests.read(target, present)[0].files
    needed = {file.digest for file in named}
    # Equal files are one blob: by digest, so that this call does not read back what it wrote.
    blobs = {file.digest: file for file in files if file.digest in needed}
    meter = Meter(sum(file.size_bytes for file in blobs.values()), progress)

    def secure(file: manifests.File) -> None:
        put_blob(target, folder_uri, paths[file.path], file)
        meter.add(file.size_bytes)

    in_parallel(secure, blobs.values(), threads)
    if present is not None:
        return present
    return write_manifest(target, folder_uri, draft.with_files(files))


def existing(target: store.ObjectStore, folder_uri: refs.Uri) -> refs.ArtifactRef | None:
    """The artifact that already lies in a folder, if its manifest is there and valid."""
    try:
        _, digest = manifests.read(target, folder_uri)
    except errors.ObjectNotFound:
        return None
    return refs.ArtifactRef(uri=folder_uri, digest=digest)


def describe_all(
    paths: Mapping[str, Path], *, threads: int = THREADS, progress: Progress | None = None
) -> list[manifests.File]:
    """Size and digest of local files by the names they have in the artifact; checks the names."""
    for name in paths:
        checked(name)
    meter = Meter(sum(path.stat().st_size for path in paths.values()), progress)

    def one(item: tuple[str, Path]) -> manifests.File:
        file = describe(*item)
        meter.add(file.size_bytes)
        return file

    return in_parallel(one, paths.items(), threads)


def describe(name: str, path: Path) -> manifests.File:
    """Size and digest of a local file under the name it has in the artifact."""
    hasher = digests.Hasher()
    with path.open("rb") as file:
        while chunk := file.read(digests.CHUNK):
            hasher.update(chunk)
    return manifests.File(path=name, digest=hasher.digest(), size_bytes=hasher.size)


def put_blob(target: store.ObjectStore, bucket: refs.Uri, path: Path, file: manifests.File) -> None:
    """Upload a file's bytes unless they are there, and look that all of them arrived."""
    uri = layout.blob(bucket, file.digest)
    if _is_right(target, uri, file):
        return
    target.put_file(uri, path, file.digest)
    info = target.head(uri)
    if info is None or info.size != file.size_bytes:
        raise errors.DigestMismatch(
            f"{uri} was written with {file.size_bytes} bytes, but the store has "
            f"{'none' if info is None else info.size}: the store loses bytes; check it"
        )


def _is_right(source: store.ObjectStore, uri: refs.Uri, file: manifests.File) -> bool:
    """Whether a blob is there with the right bytes, by reading all of them.

    Cheaper than to write them again: SeaweedFS gave 596 MB/s and took 94 MB/s.
    """
    hasher = digests.Hasher()
    try:
        for _ in hasher.through(source.open(uri)):
            if hasher.size > file.size_bytes:
                return False
    except (errors.ObjectNotFound, errors.DigestMismatch):  # absent, or replaced while it was read
        return False
    return hasher.digest() == file.digest


def write_manifest(
    target: store.ObjectStore, folder_uri: refs.Uri, manifest: manifests.Manifest
) -> refs.ArtifactRef:
    """Make the artifact visible; returns what lies there afterwards, read back.

    The answer to the write is not believed: a lost answer and a store that ignores conditions
    both look different from what is there, and what is there is what others will use.
    """
    target.put_bytes(layout.manifest(folder_uri), manifest.to_bytes(), if_absent=True)
    if (present := existing(target, folder_uri)) is None:
        raise errors.DigestMismatch(
            f"the manifest of {folder_uri} was written and is not there: the store loses objects"
        )
    return present


def local_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and paths of all files below a folder, sorted; refuses what cannot be published."""
    found = sorted(folder.rglob("*"))
    if not found:
        raise errors.ManifestInvalid(
            f"{folder.name!r} is empty or missing: there is nothing to publish"
        )
    for path in found:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise errors.NameRefused(f"{name!r} is a link; replace it by the file it points to")
        if path.is_dir():
            continue
        if not path.is_file():
            raise errors.NameRefused(f"{name!r} is neither a file nor a folder; remove it")
        yield checked(name), path


def checked(name: str) -> str:
    """Return a name that a file of an artifact may have, or raise the error that fits."""
    names.relative(name)
    names.refuse_pickle(name)
    if name in manifests.RESERVED:
        raise errors.NameRefused(f"{name!r} is a name of the store's own; rename the file")
    return name


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> list[Result]:
    """Apply `work` to all items; after the first error nothing new is started."""
    stop = threading.Event()

    def guarded(item: Item) -> Result:
        if stop.is_set():
            raise futures.CancelledError
        try:
            return work(item)
        except BaseException:
            stop.set()
            raise

    pool = futures.ThreadPoolExecutor(max_workers=max(1, threads))
    try:
        running = [pool.submit(guarded, item) for item in items]
        futures.wait(running, return_when=futures.FIRST_EXCEPTION)
    finally:
        # Also on Ctrl-C and SIGTERM: what runs comes to its end, what waits is dropped.
        pool.shutdown(cancel_futures=True)
    ended = [future for future in running if not future.cancelled()]  # codespell:ignore
    failed = (future.exception() for future in ended)
    if error := next((e for e in failed if e and not isinstance(e, futures.CancelledError)), None):
        raise error
    return [future.result() for future in running]
