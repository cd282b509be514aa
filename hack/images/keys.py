"""What an image is made of, as a short key that is its tag: equal inputs, equal image."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from hack.images import base, catalog, dockerfiles
from hack.support import paths

LENGTH = 16
"""Hexadecimal digits of a key: 64 bits, far beyond chance, and short enough to read."""

IGNORED = {"__pycache__"}
"""Folders that .dockerignore keeps out too."""

IGNORED_SUFFIXES = {".pyc"}


def reference(image: catalog.Image, root: Path = paths.REPOSITORY) -> str:
    """Returns the full reference of an image for the present content of the checkout."""
    return f"{catalog.REGISTRY}/{image.name}:{key(image, root)}"


def key(image: catalog.Image, root: Path = paths.REPOSITORY) -> str:
    """Hashes the base's recipe, the instructions of every stage needed, and what they copy.

    Laws: a changed comment, another stage or a file that is not copied leaves the key alone; any
    byte of a copied file, its path or its executable bit changes it.

    Raises:
        FileNotFoundError: A Dockerfile copies what is not there.
    """
    stages = dockerfiles.closure(dockerfiles.read(root / image.dockerfile), image.target)
    hasher = hashlib.sha256(base.key().encode())
    for stage in stages:
        for instruction in stage.instructions:
            _add(hasher, instruction.encode())
        for source in stage.sources:
            for path in _files(root / source):
                _add(hasher, path.relative_to(root).as_posix().encode())
                _add(hasher, b"x" if path.stat().st_mode & 0o100 else b"-")
                _add(hasher, path.read_bytes())
    return hasher.hexdigest()[:LENGTH]


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"a Dockerfile copies {path}, which is not there")
    found = (one for one in path.rglob("*") if one.is_file())
    return sorted(
        one for one in found if not IGNORED & set(one.parts) and one.suffix not in IGNORED_SUFFIXES
    )


def _add(hasher: "hashlib._Hash", data: bytes) -> None:
    # The length comes first: different sequences of parts must not give equal bytes.
    hasher.update(len(data).to_bytes(8, "big"))
    hasher.update(data)
