"""The OpenAI routes."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mens_server import model_registry
from mens_server.app import http
from mens_server.app import service as services
from mens_server.engines import interface
from mens_server.protocol import errors, generation, openai


def routes(service: services.Service) -> list[Route]:
    """Routes below /v1."""
    pages = _Handlers(service)

    def guard(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        return http.with_error_responses(service, handler, errors.Rejection.to_openai)

    return [
        Route("/v1/models", guard(pages.models), methods=["GET"]),
        Route("/v1/models/{name}", guard(pages.model), methods=["GET"]),
        Route("/v1/chat/completions", guard(pages.chat), methods=["POST"]),
        Route("/v1/completions", guard(pages.completions), methods=["POST"]),
    ]


class _Handlers:
    def __init__(self, service: services.Service) -> None:
        self._service = service

    async def models(self, _: Request) -> Response:
        """Every model, with its license."""
        data = [_card(entry) for entry in self._service.models.entries()]
        return JSONResponse({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        """One model."""
        return JSONResponse(_card(self._service.models.find(request.path_params["name"])))

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        wanted = openai.ChatRequest.parse(await http.body(request, self._service.limits))
        turns = [
            interface.Message("system" if turn.role == "developer" else turn.role, turn.text)
            for turn in wanted.messages
        ]
        ask = _ask(
            self._service.find(wanted.model),
            wanted,
            wanted.limit,
            lambda tokenizer: tokenizer.render(turns),
        )
        answer = await self._service.begin(ask)
        head = _Head("chatcmpl-", "chat.completion", answer)
        if wanted.stream:
            return _stream(_chat_chunks(head, answer, wanted.wants_usage), answer)
        done = await http.cancel_on_disconnect(request, services.whole(answer))
        return _whole(head, answer, done, openai.chat_choice(done.text, done.finish))

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        wanted = openai.CompletionRequest.parse(await http.body(request, self._service.limits))
        ask = _ask(
            self._service.find(wanted.model),
            wanted,
            wanted.max_tokens,
            lambda tokenizer: _prompt(wanted.prompt, tokenizer),
        )
        answer = await self._service.begin(ask)
        head = _Head("cmpl-", "text_completion", answer)
        if wanted.stream:
            return _stream(_text_chunks(head, answer, wanted.wants_usage), answer)
        done = await http.cancel_on_disconnect(request, services.whole(answer))
        return _whole(head, answer, done, openai.text_choice(done.text, done.finish))


class _Head:
    """What every chunk of an answer repeats."""

    def __init__(self, prefix: str, kind: str, answer: services.Answer) -> None:
        self._facts = {
            "id": prefix + uuid.uuid4().hex,
            "object": kind,
            "created": int(time.time()),
            "model": answer.entry.name,
            "system_fingerprint": answer.entry.digest,
        }

    def whole(self, choice: dict[str, Any], usage: dict[str, int]) -> dict[str, Any]:
        return {**self._facts, "choices": [choice], "usage": usage}

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> str:
        kind = self._facts["object"]
        if kind == "chat.completion":
            kind = "chat.completion.chunk"
        return _event({**self._facts, "object": kind, "choices": choices, **more})


def _ask(
    entry: model_registry.ServedModel,
    wanted: openai.Common,
    max_tokens: int | None,
    encode: Callable[[interface.Tokenizer], list[int]],
) -> services.Ask:
    sampling = generation.SamplingParams(wanted.temperature, wanted.top_p, wanted.seed)
    return services.Ask(entry, encode, sampling, max_tokens, wanted.stops)


def _prompt(prompt: str | list[str] | list[int], tokenizer: interface.Tokenizer) -> list[int]:
    if isinstance(prompt, str):
        return tokenizer.encode(prompt)
    first = prompt[0]
    if isinstance(first, str):
        return tokenizer.encode(first)
    return [token for token in prompt if isinstance(token, int)]


def _whole(
    head: _Head, answer: services.Answer, done: services.Whole, choice: dict[str, Any]
) -> Response:
    usage = openai.usage(answer.prompt_tokens, done.tokens)
    return JSONResponse(head.whole(choice, usage), headers=http.facts(answer.entry))


def _stream(source: AsyncIterator[str], answer: services.Answer) -> Response:
    return http.Stream(source, "text/event-stream", http.facts(answer.entry))


async def _chat_chunks(
    head: _Head, answer: services.Answer, wants_usage: bool
) -> AsyncIterator[str]:
    tokens = 0
    try:
        yield head.chunk([openai.chat_delta({"role": "assistant", "content": ""})])
        async for delta in answer.deltas:
            tokens = delta.tokens
            if delta.text:
                yield head.chunk([openai.chat_delta({"content": delta.text})])
            if delta.finish is not None:
                yield head.chunk([openai.chat_delta({}, str(delta.finish))])
        if wants_usage:
            yield head.chunk([], usage=openai.usage(answer.prompt_tokens, tokens))
        yield "data: [DONE]\n\n"
    except errors.Rejection as refusal:
        yield _event(refusal.to_openai())
    finally:
        await _close(answer)


async def _text_chunks(
    head: _Head, answer: services.Answer, wants_usage: bool
) -> AsyncIterator[str]:
    tokens = 0
    try:
        async for delta in answer.deltas:
            tokens = delta.tokens
            finish = None if delta.finish is None else str(delta.finish)
            if delta.text or finish:
                yield head.chunk([openai.text_choice(delta.text, finish)])
        if wants_usage:
            yield head.chunk([], usage=openai.usage(answer.prompt_tokens, tokens))
        yield "data: [DONE]\n\n"
    except errors.Rejection as refusal:
        yield _event(refusal.to_openai())
    finally:
        await _close(answer)


async def _close(answer: services.Answer) -> None:
    close = getattr(answer.deltas, "aclose", None)
    if close is not None:
        await close()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"


def _card(entry: model_registry.ServedModel) -> dict[str, Any]:
    compliance = entry.compliance
    upstream = entry.upstream or {}
    return {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": "mens",
        "parent": entry.base_digest if entry.is_adapter else None,
        "digest": entry.digest,
        "base_digest": entry.base_digest,
        "license": compliance.get("licenseExpression"),
        "license_class": compliance.get("licenseClass"),
        "attribution_required": compliance.get("attributionRequired"),
        "upstream_family": upstream.get("family"),
        "upstream_model_id": upstream.get("modelId"),
    }
