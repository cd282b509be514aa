"""Zstandard-compressed JSON lines; the bytes depend on the lines only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import zstandard

LEVEL: Final = 9
"""At most 4 % larger than level 19 on rows of code, in a tenth of the time."""
LINE_LIMIT: Final = 16 * 1024 * 1024
"""Maximum bytes of a line that `read_lines` accepts; written lines are much shorter."""


def write_lines(path: Path, lines: Iterable[bytes]) -> int:
    """Write lines, each with its line feed; returns the number of lines."""
    count = 0
    # With threads or a content size, the bytes would depend on how the lines arrive.
    compressor = zstandard.ZstdCompressor(level=LEVEL, threads=0, write_checksum=True)
    with path.open("wb") as file, compressor.stream_writer(file, closefd=False) as out:
        for line in lines:
            out.write(line)
            count += 1
    return count


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file of `write_lines`, without their line feeds.

    Raises:
        ValueError: If a line exceeds LINE_LIMIT.
    """
    rest = b""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        while chunk := stream.read(1024 * 1024):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            if len(rest) > LINE_LIMIT:
                raise ValueError(f"{path.name} contains a line of more than {LINE_LIMIT} bytes")
    if rest:
        yield rest
