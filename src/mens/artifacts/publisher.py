"""Publishes a folder: blobs first, the manifest last, so that an artifact is complete or absent.

A crash at any point leaves only blobs that no manifest names. Publishing again completes the
artifact and uploads only what is missing or damaged, also below an existing manifest. The first
manifest in a folder wins; a second publisher gets the first one back.

Law: when `publish` returns, this call has written or read back every blob that the manifest names
and whose bytes the folder holds. Name and size alone prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mens.artifacts import digests, errors, layout, manifests, names, refs, store, transfers


def publish(
    target: store.ObjectStore,
    folder_uri: refs.Uri,
    folder: Path,
    draft: manifests.Manifest,
    *,
    threads: int = transfers.THREADS,
    progress: transfers.Progress | None = None,
) -> refs.ArtifactRef:
    """Publish all files below `folder` as the artifact `folder_uri`.

    Args:
        target: Where to publish.
        folder_uri: The artifact's folder.
        folder: Local folder; no links, no pickles by name, no reserved names.
        draft: The manifest without its files.
        threads: Number of parallel uploads.
        progress: Called with bytes done and bytes in total.

    Returns:
        Reference to the artifact in the folder: this one, or the one that was there before.
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
    threads: int = transfers.THREADS,
    progress: transfers.Progress | None = None,
    described: Sequence[manifests.File] | None = None,
) -> refs.ArtifactRef:
    """Publish files from anywhere, by the name that each has in the artifact; see `publish`.

    `described` is an earlier result of `describe_all` for the same paths; it saves hashing again.
    """
    files = described if described is not None else describe_all(paths, threads=threads)
    present = existing(target, folder_uri)
    named = files if present is None else manifests.read(target, present)[0].files
    needed = {file.digest for file in named}
    # Equal files are one blob: by digest, so that this call does not read back what it wrote.
    blobs = {file.digest: file for file in files if file.digest in needed}
    meter = transfers.Meter(sum(file.size_bytes for file in blobs.values()), progress)

    def secure(file: manifests.File) -> None:
        put_blob(target, folder_uri, paths[file.path], file)
        meter.add(file.size_bytes)

    transfers.for_each(blobs.values(), secure, threads)
    if present is not None:
        return present
    return write_manifest(target, folder_uri, draft.with_files(files))


def existing(target: store.ObjectStore, folder_uri: refs.Uri) -> refs.ArtifactRef | None:
    """Return the artifact that a folder already holds, or None if it has no manifest."""
    try:
        _, digest = manifests.read(target, folder_uri)
    except errors.ObjectNotFound:
        return None
    return refs.ArtifactRef(uri=folder_uri, digest=digest)


def describe_all(
    paths: Mapping[str, Path],
    *,
    threads: int = transfers.THREADS,
    progress: transfers.Progress | None = None,
) -> list[manifests.File]:
    """Return name, size and digest of local files, by the names they have in the artifact."""
    for name in paths:
        checked(name)
    meter = transfers.Meter(sum(path.stat().st_size for path in paths.values()), progress)

    def one(item: tuple[str, Path]) -> manifests.File:
        file = describe(*item)
        meter.add(file.size_bytes)
        return file

    return transfers.for_each(paths.items(), one, threads)


def describe(name: str, path: Path) -> manifests.File:
    """Return name, size and digest of a local file, under the name it has in the artifact."""
    hasher = digests.Hasher()
    with path.open("rb") as file:
        while chunk := file.read(digests.CHUNK):
            hasher.update(chunk)
    return manifests.File(path=name, digest=hasher.digest(), size_bytes=hasher.size)


def put_blob(target: store.ObjectStore, bucket: refs.Uri, path: Path, file: manifests.File) -> None:
    """Upload a file unless the store has its bytes, and check that all of them arrived."""
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
    """Return whether the store has a blob with the right bytes, by reading all of them.

    Reading is cheaper than writing again: SeaweedFS reads 596 MB/s and writes 94 MB/s.
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
    """Make the artifact visible, and return the artifact that the folder holds afterwards.

    The manifest is read back. The answer to the write proves nothing: it can be lost, and some
    stores ignore conditions.
    """
    target.put_bytes(layout.manifest(folder_uri), manifest.to_bytes(), if_absent=True)
    if (present := existing(target, folder_uri)) is None:
        raise errors.DigestMismatch(
            f"the manifest of {folder_uri} was written and is missing: the store loses objects"
        )
    return present


def local_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of all files below a folder, sorted; reject what cannot be published."""
    found = sorted(folder.rglob("*"))
    if not found:
        raise errors.ManifestInvalid(
            f"{folder.name!r} is empty or missing: there is nothing to publish"
        )
    for path in found:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise errors.NameRefused(f"{name!r} is a link; replace it with the file it points to")
        if path.is_dir():
            continue
        if not path.is_file():
            raise errors.NameRefused(f"{name!r} is neither a file nor a folder; remove it")
        yield checked(name), path


def checked(name: str) -> str:
    """Return a valid name of a file in an artifact.

    Raises:
        NameRefused: If the name is unsafe or reserved.
        PickleRefused: If the name is that of a pickle.
    """
    names.relative(name)
    names.refuse_pickle(name)
    if name in manifests.RESERVED:
        raise errors.NameRefused(f"{name!r} is a reserved name; rename the file")
    return name
