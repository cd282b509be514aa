"""Ask the endpoint what a user would ask: several questions at once, to two models."""

from __future__ import annotations

import concurrent.futures
import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from hack.demo import questions

ANSWER_TOKENS = 72
"""Enough for one line of JSON; the base model rambles and is cut here."""
AT_ONCE = 8
"""Requests in flight; the server decodes them as one batch."""


def models(address: str) -> list[dict[str, Any]]:
    """What `/v1/models` lists."""
    with urllib.request.urlopen(f"http://{address}/v1/models", timeout=30) as answer:
        return list(json.load(answer)["data"])


def ask(
    address: str, names: Sequence[str], asked: Sequence[questions.Question]
) -> dict[str, list[questions.Answer]]:
    """Ask every model every question; answers in the order of the questions."""
    pairs = [(name, question) for question in asked for name in names]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda pair: _one(address, *pair), pairs))
    return {
        name: [
            answer for (asked_of, _), answer in zip(pairs, answers, strict=True) if asked_of == name
        ]
        for name in names
    }


def _one(address: str, model: str, question: questions.Question) -> questions.Answer:
    body: Mapping[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": question.prompt}],
        "temperature": 0,
        "max_tokens": ANSWER_TOKENS,
    }
    request = urllib.request.Request(
        f"http://{address}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=300) as answer:
        said = json.load(answer)["choices"][0]["message"]["content"]
    return questions.Answer(question, str(said or ""), time.monotonic() - began)
