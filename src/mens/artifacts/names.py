"""Which names Mens writes and follows; everything that comes from outside passes here first.

A name that is not plainly harmless is refused, never repaired: a repaired name can collide with
another one, and a refused one can be corrected by a person.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mens.artifacts import errors

KEY_LIMIT: Final = 1024
"""UTF-8 bytes of an S3 key, by the S3 reference."""
SEGMENT_LIMIT: Final = 255
"""UTF-8 bytes of one file name on every Linux file system."""
PICKLE_SUFFIXES: Final = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill"}
)
"""Endings under which models are pickled."""

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def bucket(name: str) -> str:
    """Return the bucket name, or raise `NameRefused`."""
    if not _BUCKET.fullmatch(name) or ".." in name:
        raise errors.NameRefused(
            f"{_shown(name)} is not a bucket name: 3 to 63 of a-z, 0-9, '.' and '-'"
        )
    return name


def segment(name: str) -> str:
    """Return one part of a key or path, or raise `NameRefused`."""
    if name in {"", ".", ".."}:
        raise errors.NameRefused(f"{_shown(name)} is not a name: it must not be empty, '.' or '..'")
    if any(c in "/\\" or unicodedata.category(c) in {"Cc", "Cs", "Cf", "Zl", "Zp"} for c in name):
        raise errors.NameRefused(
            f"{_shown(name)} has a character that names must not have: a slash, a backslash, "
            "a control or an invisible character; rename it"
        )
    if len(name.encode()) > SEGMENT_LIMIT:
        raise errors.NameRefused(f"{_shown(name)} is longer than {SEGMENT_LIMIT} bytes; rename it")
    return name


def relative(path: str) -> str:
    """Return a path of one or more segments that stays inside its folder, or raise."""
    for part in path.split("/"):
        segment(part)
    if len(path.encode()) > KEY_LIMIT:
        raise errors.NameRefused(f"{_shown(path)} is longer than {KEY_LIMIT} bytes; shorten it")
    return path


def is_pickle(path: str) -> bool:
    """Whether the name says that opening the file may run code."""
    return any(path.lower().endswith(suffix) for suffix in PICKLE_SUFFIXES)


def refuse_pickle(path: str) -> None:
    """Raise `PickleRefused` for a name that says pickle."""
    if is_pickle(path):
        raise errors.PickleRefused(
            f"{_shown(path)} is a pickle by its name, and a pickle can run code when it is opened; "
            "convert the weights to safetensors and remove the file"
        )


def _shown(name: str) -> str:
    return repr(name if len(name) <= 120 else name[:117] + "...")
