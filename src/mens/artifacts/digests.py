"""SHA-256 digests as values: made while streaming, compared as strings.

Laws: `Digest.parse(str(d)) == d`, and a `Hasher` fed any split of some bytes gives
`Digest.of_bytes` of those bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mens.artifacts import errors

CHUNK: Final = 1024 * 1024
"""Bytes read at a time; larger chunks did not hash faster."""

_PATTERN: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """A SHA-256, written `sha256:<64 lower-case hex digits>`; a plain string for JSON."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check `text`; anything but the one spelling is refused."""
        if not _PATTERN.fullmatch(text):
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise errors.NameRefused(
                f"{shown!r} is not a digest: write sha256: and 64 lower-case hex digits"
            )
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a digest; raises `NameRefused` (a ValueError)."""
        return cls(text)

    @classmethod
    def of_bytes(cls, data: bytes) -> Self:
        """Digest of bytes in memory."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Digest of a file, read in chunks."""
        with path.open("rb") as file:
            return cls("sha256:" + hashlib.file_digest(file, "sha256").hexdigest())

    @property
    def hex(self) -> str:
        """The 64 hex digits alone."""
        return self.removeprefix("sha256:")

    @property
    def short(self) -> str:
        """Twelve hex digits: enough for a person, never for a decision."""
        return self.hex[:12]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(pattern=f"^{_PATTERN.pattern}$")
        )


class Hasher:
    """Counts and hashes bytes that pass by on their way to somewhere else."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size = 0
        """Bytes seen so far."""

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self._sha256.update(chunk)
        self.size += len(chunk)

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks unchanged while taking them in."""
        for chunk in chunks:
            self.update(chunk)
            yield chunk

    def digest(self) -> Digest:
        """Digest of all bytes so far."""
        return Digest("sha256:" + self._sha256.hexdigest())
