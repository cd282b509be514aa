"""Extractors by name, and the documents that each one supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from mens.api import corpus
from mens_corpus.extractors import markdown_sections, python_functions, results

Extract: TypeAlias = Callable[..., Iterator[results.Result]]

_SUFFIXES: Final[Mapping[corpus.Extractor, tuple[str, ...]]] = {
    corpus.Extractor.PYTHON_FUNCTIONS: python_functions.SUFFIXES,
    corpus.Extractor.MARKDOWN_SECTIONS: markdown_sections.SUFFIXES,
}
_EXTRACT: Final[Mapping[corpus.Extractor, Extract]] = {
    corpus.Extractor.PYTHON_FUNCTIONS: python_functions.extract,
    corpus.Extractor.MARKDOWN_SECTIONS: markdown_sections.extract,
}


def supports(path: str, extractors: Sequence[corpus.Extractor]) -> bool:
    """Return whether any of the extractors supports a document with this path."""
    return any(path.lower().endswith(_SUFFIXES[extractor]) for extractor in extractors)


def extract(
    path: str, data: bytes, extractors: Sequence[corpus.Extractor], *, max_characters: int
) -> Iterator[results.Result]:
    """Yield the results of the extractors that support the document, in the order of the spec."""
    for extractor in extractors:
        if path.lower().endswith(_SUFFIXES[extractor]):
            yield from _EXTRACT[extractor](data, max_characters=max_characters)
