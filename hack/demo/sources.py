"""Real input for the corpus: the standard library of this Python, and this project's own docs."""

from __future__ import annotations

import concurrent.futures
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from hack.demo import console, kubectl
from hack.support import paths
from mens.artifacts import digests, refs, store

LEFT_OUT = {"test", "tests", "site-packages", "idlelib", "lib2to3", "turtledemo", "__pycache__"}
"""Folders of the standard library that are tests, programs or not part of it."""
LICENSE_NAMES = ("LICENSE.txt", "LICENSE", "copyright")
"""What an installation calls the text of Python's license; Debian calls it copyright."""
STDLIB = Path(sysconfig.get_path("stdlib"))
"""Where this Python's own modules lie."""
DEBIAN = Path(f"/usr/share/doc/libpython{sysconfig.get_python_version()}-minimal")
"""Where Debian keeps it; others keep it in the standard library's folder."""


def standard_library(root: Path = STDLIB, texts: Path = DEBIAN) -> Iterator[tuple[str, Path]]:
    """Name below the source's folder and file, in order, with the license text of Python.

    Raises:
        DemoError: This Python came without its license; a corpus of it could not be licensed.
    """
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if not LEFT_OUT & set(inside.parts[:-1]):
            yield inside.as_posix(), path
    places = [folder / name for folder in (root, texts) for name in LICENSE_NAMES]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise kubectl.DemoError(
            f"this Python has no license text in {root} or {texts}: put it there as LICENSE, "
            "or make the environment with another Python (`PYTHON=... make demo`)"
        )
    yield "LICENSE", found


def documentation() -> Iterator[tuple[str, Path]]:
    """This project's Markdown and its license."""
    root = paths.REPOSITORY
    for path in [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]:
        yield path.relative_to(root).as_posix(), path
    yield "LICENSE", root / "LICENSE"


def upload(target: store.ObjectStore, folder: refs.Uri, files: list[tuple[str, Path]]) -> int:
    """Put files below a folder, those that are there with the same bytes left alone; the count.

    What was put is noted beside the folder: a store does not tell an object's SHA-256.
    """
    note = refs.Uri(folder.bucket, f"{folder.key}.uploaded.json")
    there = {str(info.uri) for info in target.list(folder)}
    noted = json.loads(target.get_bytes(note)) if target.head(note) else {}
    digest_of = {name: digests.Digest.of_file(path) for name, path in files}

    def put(item: tuple[str, Path]) -> None:
        name, path = item
        uri = folder.join(name)
        if str(uri) not in there or noted.get(name) != str(digest_of[name]):
            target.put_file(uri, path, digest_of[name])

    line = console.Line(f"upload to {folder}")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for count, _ in enumerate(pool.map(put, files), 1):
            line.update(f"{count} of {len(files)} files")
    line.end()
    target.put_bytes(note, json.dumps({name: str(it) for name, it in digest_of.items()}).encode())
    return len(files)
