"""Bytes become text whose only line end is the line feed."""

from __future__ import annotations

import io
import tokenize

from mens_corpus.extractors import outcomes


def python_text(data: bytes) -> str | outcomes.Broken:
    """Decode Python source as Python does: byte-order mark, coding cookie, else UTF-8."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:
        return outcomes.Broken("NotDecodable", str(error), line=1)
    return _decoded(data, encoding)


def plain_text(data: bytes) -> str | outcomes.Broken:
    """Decode UTF-8, with or without a byte-order mark."""
    return _decoded(data, "utf-8-sig")


def _decoded(data: bytes, encoding: str) -> str | outcomes.Broken:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return outcomes.Broken("NotDecodable", f"not valid {encoding}: {error.reason}", line=line)
    except (LookupError, ValueError) as error:
        # Some registered codecs are no text encodings and raise errors of their own.
        return outcomes.Broken("NotDecodable", f"unusable encoding {encoding}: {error}", line=1)
    return text.replace("\r\n", "\n").replace("\r", "\n")
