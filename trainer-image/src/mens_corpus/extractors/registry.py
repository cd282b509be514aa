"""Which extractor understands which document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from mens.api import corpus
from mens_corpus.extractors import markdown_sections, outcomes, python_functions

Extract: TypeAlias = Callable[..., Iterator[outcomes.Outcome]]

_SUFFIXES: Final[Mapping[corpus.Extractor, tuple[str, ...]]] = {
    corpus.Extractor.PYTHON_FUNCTIONS: python_functions.SUFFIXES,
    corpus.Extractor.MARKDOWN_SECTIONS: markdown_sections.SUFFIXES,
}
_EXTRACT: Final[Mapping[corpus.Extractor, Extract]] = {
    corpus.Extractor.PYTHON_FUNCTIONS: python_functions.extract,
    corpus.Extractor.MARKDOWN_SECTIONS: markdown_sections.extract,
}


def understands(path: str, extractors: Sequence[corpus.Extractor]) -> bool:
    """Return whether any of the extractors reads documents with this name."""
    return any(path.lower().endswith(_SUFFIXES[extractor]) for extractor in extractors)


def extract(
    path: str, data: bytes, extractors: Sequence[corpus.Extractor], *, max_characters: int
) -> Iterator[outcomes.Outcome]:
    """Yield what the extractors that understand the document say, in their declared order."""
    for extractor in extractors:
        if path.lower().endswith(_SUFFIXES[extractor]):
            yield from _EXTRACT[extractor](data, max_characters=max_characters)
