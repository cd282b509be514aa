"""License texts: what makes two of them the same text, and where they lie.

Identity is the SHA-256 of the normalized text and nothing weaker: no name, no tag, no score of
similarity. Normalizing takes away only what the license itself leaves open: who holds the
copyright and since when, line breaks, case, rulers, the shape of quotation marks. One added or
changed word gives another digest, and a digest that nobody reviewed is an unknown license.

A copyright line is taken away only if every word of it is seen to name a holder, see
`_names_holders`; a line that could be anything else stays text, and then the license is unknown.

Laws: `digest` ignores line breaks, the case of the terms and holders; `digest` of a text with one
more word differs.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from mens.artifacts import digests

_YEARS: Final = r"(?:19|20)\d\d(?:\s*(?:[-,]|to|and)\s*(?:(?:19|20)\d\d|present))*"
_HOLDER_LATER: Final = r"\[(?:yyyy|year)\]|\{yyyy\}|<year>"
_NOTICE: Final = re.compile(
    rf"\W*(?:(?:portions|extensions)\s+)?copyright\s*(?:\(c\)\s*|,\s*)*"
    rf"(?:{_YEARS}\b|{_HOLDER_LATER}|(?<=\(c\))(?=\s*\S))(?P<holders>.*)",
    re.IGNORECASE,
)
_YEARS_IN_TEXT: Final = re.compile(rf"copyright \(c\) {_YEARS}")
_RULER: Final = re.compile(r"[\W_]*")
_TERMS: Final = re.compile(
    r"\b(?:use[ds]?|using|user|users|licen[cs]\w*|commercial\w*|only|must|may|shall|should|permi\w+|prohibit\w*"
    r"|grant\w*|provided|except\w*|unless|not|distribut\w*|modif\w*|agree\w*|display\w*|restrict\w*|"
    r"revenue|terms|condition\w*|require\w*|(?<!\.)no|non|never|without|purposes?)\b",
    re.IGNORECASE,
)
_NOTICE_LIMIT: Final = 160
_SHOUTED: Final = 4
"""Words that holders may have where all is in capitals, as `NVIDIA CORPORATION & AFFILIATES`."""
_RESERVED: Final = re.compile(r"[\s,;.]*\ball rights reserved\W*$", re.IGNORECASE)
_ADDRESS: Final = re.compile(
    r"[^\s<>(),;]*(?:@|://|\{at\}|\bwww\.)[^\s<>(),;]*|[<(]\S+ at \S+(?: dot \S+)*[>)]",
    re.IGNORECASE,
)
_SENTENCE_END: Final = re.compile(
    r"(?<!\b\w)(?<!\b(?:al|co|dr|jr|sr|st))(?<!\b(?:inc|llc|ltd))(?<!\bcorp)\.\s+(?=\S)",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\s,;:/&()\[\]{}<>\"|*]+")
_YEAR: Final = re.compile(r"(?:19|20)\d[\dx]|\d\d?|now|present|\W*", re.IGNORECASE)
_LINKS: Final = frozenset({
    "a", "al", "and", "as", "at", "by", "copyright", "d", "de", "del", "der", "di", "döt", "et",
    "file", "for", "für", "i", "in", "la", "le", "name", "of", "or", "original", "respective",
    "see", "shown", "the", "to", "van", "von", "y",
})  # fmt: skip
"""Words in lower case that stand between names."""
_ROLES: Final = frozenset({
    "affiliates", "author", "authors", "co", "community", "company", "contributor",
    "contributors", "corp", "corporation", "developers", "foundation", "gmbh", "group", "holder",
    "holders", "inc", "individual", "its", "llc", "ltd", "maintainers", "member", "members",
    "other", "others", "owner", "owners", "project", "se", "team",
})  # fmt: skip
"""What holders are, or what stands behind the name of one."""
_QUOTES: Final = str.maketrans("‘’‚“”„«»´`–—‐‑", "'''\"\"\"\"\"''----")
_FILE: Final = re.compile(
    r"(?:un)?licen[cs]e(?:[-._].*)?|copying(?:[-._].*)?|copyright|.*[-._]licen[cs]e(?:\.txt|\.md)?"
)


def decode(data: bytes) -> str:
    """Text of a captured license file; every byte counts, so a wrong encoding changes identity."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def normalize(text: str) -> str:
    """The text without what a license leaves open; for comparing, never for showing."""
    kept = (
        line for line in _plain(text).splitlines() if not _is_notice(line) and not _is_ruler(line)
    )
    return _YEARS_IN_TEXT.sub("copyright (c)", " ".join(" ".join(kept).casefold().split()))


def digest(text: str) -> digests.Digest:
    """Identity of a license text."""
    return digests.Digest.of_bytes(normalize(text).encode())


def notices(text: str) -> tuple[str, ...]:
    """The copyright lines of a text, as they stand there, each once."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(dict.fromkeys(line for line in lines if _is_notice(_plain(line))))


def is_license_file(path: str) -> bool:
    """Whether a file's name says that it holds a license."""
    name = PurePosixPath(path).name.lower()
    code = name.endswith((".py", ".js", ".ts", ".go", ".rs", ".c", ".h", ".json", ".html"))
    return bool(_FILE.fullmatch(name)) and not code


def nearest(path: str, license_files: Iterable[str]) -> tuple[str, ...]:
    """The license files that stand nearest above a file: those of the first folder that has any.

    Several in one folder all count: which of them applies is for `licenses.conclude` to say.
    """
    by_folder: dict[PurePosixPath, list[str]] = {}
    for each in license_files:
        by_folder.setdefault(PurePosixPath(each).parent, []).append(each)
    for folder in PurePosixPath(path).parents:
        if folder in by_folder:
            return tuple(sorted(by_folder[folder]))
    return ()


def _plain(text: str) -> str:
    """The text in one form of each character; its case is evidence for names and stays."""
    return unicodedata.normalize("NFKC", text.replace("©", "(c)")).translate(_QUOTES)


def _is_notice(line: str) -> bool:
    """A short line that names holders and says nothing about what may be done."""
    plain = line.strip().removesuffix(".").strip()
    if plain.casefold() in {"all rights reserved", "(c)"}:
        return True
    if len(plain) > _NOTICE_LIMIT or _TERMS.search(plain):
        return False
    found = _NOTICE.fullmatch(plain)
    if not found:
        return False
    # A second sentence must be a notice again: `Portions copyright (c) 2011 …`.
    first, *more = _SENTENCE_END.split(_RESERVED.sub("", found["holders"]), maxsplit=1)
    return _names_holders(first) and all(map(_is_notice, more))


def _names_holders(text: str) -> bool:
    """Whether every word is seen to be a part of a name, by its form alone.

    Names have a capital somewhere; a project may be written without one, but then stands first
    and alone, or before a word such as `contributors`. Where capitals tell nothing, little is
    believed: a few words where all is in capitals, none of a script that has no capitals.
    """
    bare = (word.strip("-.'") for word in _WORD.findall(_ADDRESS.sub(" ", text)))
    words = [word for word in bare if not _YEAR.fullmatch(word)]
    if any(c.isalpha() and not (c.isupper() or c.islower()) for word in words for c in word):
        return False
    if all(map(str.isupper, words)) and len(words) > _SHOUTED:
        return False
    begun = False
    for word, after in itertools.pairwise([*words, ""]):
        known = word.casefold() in _LINKS | _ROLES
        first_and_alone = not begun and after.casefold() in {"", *_LINKS}
        named = any(map(str.isupper, word)) or first_and_alone or after.casefold() in _ROLES
        if not (known or named):
            return False
        begun = begun or not known
    return True


def _is_ruler(line: str) -> bool:
    return bool(_RULER.fullmatch(line))
