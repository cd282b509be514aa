"""Ask the endpoint what a user would ask: several questions at once, to two models."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from hack.demo import console, kubectl, questions

ANSWER_TOKENS = 72
"""Enough for one line of JSON; the base model rambles and is cut here."""
AT_ONCE = 8
"""Requests in flight; the server decodes them as one batch."""


def ask(
    address: str, names: Sequence[str], asked: Sequence[questions.Question]
) -> dict[str, list[questions.Answer]]:
    """Ask every model every question; answers in the order of the questions.

    Raises:
        DemoError: The endpoint did not answer, or not in the shape of OpenAI's.
    """
    pairs = [(name, question) for question in asked for name in names]
    line = console.Line("answers")
    answers = []
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for answer in pool.map(lambda pair: _one(address, *pair), pairs):
            answers.append(answer)
            line.update(f"{len(answers)} of {len(pairs)}")
    line.end()
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
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            text = json.load(answer)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        raise kubectl.DemoError(f"{model} answered {error.code}: {_said(error)}") from error
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        raise kubectl.DemoError(f"{model} gave no answer: {error!r}") from error
    return questions.Answer(question, str(text or ""), time.monotonic() - began)


def _said(error: urllib.error.HTTPError) -> str:
    return error.read().decode(errors="replace").strip()[:500]
