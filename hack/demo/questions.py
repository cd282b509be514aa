"""Held-out questions and how an answer is judged: pure.

The task is checkable: the answer must be one JSON object with the function's right name and the
right parameters in order. The summary is never judged, a small model invents it often.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Question:
    """One held-out row."""

    prompt: str
    """What is asked, exactly as the corpus has it."""
    name: str
    """The function's name."""
    params: tuple[str, ...]
    """Its parameters in order."""
    path: str
    """The file it comes from; no row of that file was trained on."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A model's answer to one question."""

    question: Question
    text: str
    seconds: float

    @property
    def verdict(self) -> str:
        """One of `right`, `wrong params`, `wrong name`, `no JSON`."""
        try:
            found = json.loads(self.text.strip())
        except ValueError:
            return "no JSON"
        if not isinstance(found, dict):
            return "no JSON"
        if found.get("name") != self.question.name:
            return "wrong name"
        if found.get("params") != list(self.question.params):
            return "wrong params"
        return "right"


def choose(rows: Iterable[Mapping[str, Any]], count: int) -> list[Question]:
    """Questions spread evenly over the held-out rows, and last the hardest one of all.

    The hardest is the one with the most parameters to repeat: it keeps the demo honest, since the
    adapter need not win it.
    """
    known = [question for row in rows if (question := _question(row)) is not None]
    if len(known) <= count:
        return known
    hardest = max(known, key=lambda question: len(question.params))
    others = [question for question in known if question != hardest]
    step = max(1, len(others) // (count - 1))
    return [*others[::step][: count - 1], hardest]


def _question(row: Mapping[str, Any]) -> Question | None:
    try:
        answer = json.loads(row["response"])
        name, params = answer["name"], answer["params"]
    except (ValueError, KeyError, TypeError):
        return None
    path = str(row.get("metadata", {}).get("path", ""))
    return Question(str(row["prompt"]), str(name), tuple(str(one) for one in params), path)


def right(answers: Sequence[Answer]) -> int:
    """How many answers are fully right."""
    return sum(answer.verdict == "right" for answer in answers)
