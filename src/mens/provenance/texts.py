"""Licence texts: what makes two of them the same text, and what they say about themselves.

Identity is the SHA-256 of the normalised text and nothing weaker: no name, no tag, no score of
similarity. Normalising takes away only what the licence itself leaves open: who holds the
copyright and since when, line breaks, case, rulers, the shape of quotation marks. One added or
changed word gives another digest, and a digest that nobody reviewed is an unknown licence.

Laws: `digest` ignores line breaks, case and holders; `digest` of a text with one more word differs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from mens.artifacts import digests

HEADER_LINES: Final = 40
"""Lines at the top of a file in which an SPDX header counts; further down it is quoted text."""

_YEARS: Final = r"(?:19|20)\d\d(?:\s*(?:[-,]|to|and)\s*(?:(?:19|20)\d\d|present))*"
_HOLDER_LATER: Final = r"\[(?:yyyy|year)\]|\{yyyy\}|<year>"
_NOTICE: Final = re.compile(
    rf"\W*(?:portions\s+)?copyright\s*(?:\(c\)\s*|,\s*)*"
    rf"(?:{_YEARS}\b|{_HOLDER_LATER}|(?<=\(c\))\s*\S).*"
)
_YEARS_IN_TEXT: Final = re.compile(rf"copyright \(c\) {_YEARS}")
_RULER: Final = re.compile(r"[\W_]*")
_TERMS: Final = re.compile(
    r"\b(?:use[ds]?|using|user|users|licen[cs]\w*|commercial\w*|only|must|may|shall|should|permi\w+|prohibit\w*"
    r"|grant\w*|provided|except\w*|unless|not|distribut\w*|modif\w*|agree\w*|display\w*|restrict\w*|"
    r"revenue|terms|condition\w*|require\w*)\b"
)
_NOTICE_LIMIT: Final = 160
_QUOTES: Final = str.maketrans("‘’‚“”„«»´`–—‐‑", "'''\"\"\"\"\"''----")
_SPDX: Final = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() :-]+)")
_FILE: Final = re.compile(
    r"(?:un)?licen[cs]e(?:[-._].*)?|copying(?:[-._].*)?|copyright|.*[-._]licen[cs]e(?:\.txt|\.md)?"
)


def decode(data: bytes) -> str:
    """Text of a captured licence file; every byte counts, so a wrong encoding changes identity."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def normalise(text: str) -> str:
    """The text without what a licence leaves open; for comparing, never for showing."""
    folded = unicodedata.normalize("NFKC", text.replace("©", "(c)")).translate(_QUOTES).casefold()
    kept = (line for line in folded.splitlines() if not _is_notice(line) and not _is_ruler(line))
    return _YEARS_IN_TEXT.sub("copyright (c)", " ".join(" ".join(kept).split()))


def digest(text: str) -> digests.Digest:
    """Identity of a licence text."""
    return digests.Digest.of_bytes(normalise(text).encode())


def notices(text: str) -> tuple[str, ...]:
    """The copyright lines of a text, as they stand there, each once."""
    folded = ((line, line.replace("©", "(c)").casefold()) for line in text.splitlines())
    return tuple(dict.fromkeys(line.strip() for line, low in folded if _is_notice(low)))


def spdx_header(text: str) -> str | None:
    """The expression of an SPDX header near the top of a source file; None without one."""
    head = "\n".join(text.splitlines()[:HEADER_LINES])
    found = _SPDX.search(head)
    return " ".join(found[1].split()) if found else None


def is_licence_file(path: str) -> bool:
    """Whether a file's name says that it holds a licence."""
    name = PurePosixPath(path).name.lower()
    code = name.endswith((".py", ".js", ".ts", ".go", ".rs", ".c", ".h", ".json", ".html"))
    return bool(_FILE.fullmatch(name)) and not code


def nearest(path: str, licence_files: Iterable[str]) -> tuple[str, ...]:
    """The licence files that stand nearest above a file: those of the first folder that has any.

    Several in one folder all count: which of them applies is for `licences.conclude` to say.
    """
    by_folder: dict[PurePosixPath, list[str]] = {}
    for each in licence_files:
        by_folder.setdefault(PurePosixPath(each).parent, []).append(each)
    for folder in PurePosixPath(path).parents:
        if folder in by_folder:
            return tuple(sorted(by_folder[folder]))
    return ()


def _is_notice(line: str) -> bool:
    """A short line that names a holder; one that says what may be done is part of the terms."""
    plain = line.strip().removesuffix(".").strip()
    if plain in {"all rights reserved", "(c)"}:
        return True
    if len(plain) > _NOTICE_LIMIT or not _NOTICE.fullmatch(plain):
        return False
    return not _TERMS.search(plain)


def _is_ruler(line: str) -> bool:
    return bool(_RULER.fullmatch(line))
