"""Decode documents to text with line feeds as the only line ends."""

from __future__ import annotations

import io
import tokenize

from mens_corpus.extractors import results


def python_text(data: bytes) -> str | results.Invalid:
    """Decode Python source as Python does: byte-order mark, coding cookie, else UTF-8."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:
        return results.Invalid("NotDecodable", str(error), line=1)
    return _decoded(data, encoding)


def plain_text(data: bytes) -> str | results.Invalid:
    """Decode UTF-8, with or without a byte-order mark."""
    return _decoded(data, "utf-8-sig")


def _decoded(data: bytes, encoding: str) -> str | results.Invalid:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return results.Invalid("NotDecodable", f"not valid {encoding}: {error.reason}", line=line)
    except (LookupError, ValueError) as error:
        # Some registered codecs are not text encodings and raise other errors.
        return results.Invalid("NotDecodable", f"unusable encoding {encoding}: {error}", line=1)
    return text.replace("\r\n", "\n").replace("\r", "\n")
