"""The Ollama-shaped routes: reading and inference only."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mens_server.app import http
from mens_server.app import service as services
from mens_server.engines import interface
from mens_server.protocol import errors, generation, ollama


def routes(service: services.Service) -> list[Route]:
    """Routes below /api, and the greeting at /."""
    pages = _Handlers(service)

    def guard(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        return http.with_error_responses(service, handler, errors.Rejection.to_ollama)

    return [
        Route("/", guard(pages.greeting), methods=["GET"]),
        Route("/api/version", guard(pages.version), methods=["GET"]),
        Route("/api/tags", guard(pages.tags), methods=["GET"]),
        Route("/api/chat", guard(pages.chat), methods=["POST"]),
        Route("/api/generate", guard(pages.generate), methods=["POST"]),
        Route("/api/embed", guard(pages.not_implemented), methods=["POST"]),
        Route("/api/embeddings", guard(pages.not_implemented), methods=["POST"]),
    ]


class _Handlers:
    def __init__(self, service: services.Service) -> None:
        self._service = service

    async def greeting(self, _: Request) -> Response:
        """What clients look for to recognize the protocol."""
        return PlainTextResponse("Ollama is running")

    async def version(self, _: Request) -> Response:
        """Version of the protocol."""
        return JSONResponse({"version": ollama.VERSION})

    async def tags(self, _: Request) -> Response:
        """Every model."""
        models = [
            ollama.tag(entry.name, entry.digest, str((entry.upstream or {}).get("family", "")))
            for entry in self._service.models.entries()
        ]
        return JSONResponse({"models": models})

    async def not_implemented(self, _: Request) -> Response:
        """Embeddings."""
        raise errors.NotImplementedHere("This server does not make embeddings.")

    async def chat(self, request: Request) -> Response:
        """POST /api/chat."""
        wanted = ollama.ChatRequest.parse(await http.body(request, self._service.limits))
        turns = [interface.Message(turn.role, turn.content) for turn in wanted.messages]
        return await self._respond(
            request,
            wanted,
            lambda tokenizer: tokenizer.render(turns),
            lambda text: {"message": {"role": "assistant", "content": text}},
        )

    async def generate(self, request: Request) -> Response:
        """POST /api/generate."""
        wanted = ollama.GenerateRequest.parse(await http.body(request, self._service.limits))

        def encode(tokenizer: interface.Tokenizer) -> list[int]:
            if wanted.raw:
                return tokenizer.encode(wanted.prompt)
            turns = [interface.Message("system", wanted.system)] if wanted.system else []
            return tokenizer.render([*turns, interface.Message("user", wanted.prompt)])

        return await self._respond(request, wanted, encode, lambda text: {"response": text})

    async def _respond(
        self,
        request: Request,
        wanted: ollama.Common,
        encode: Callable[[interface.Tokenizer], list[int]],
        piece: Callable[[str], dict[str, Any]],
    ) -> Response:
        entry = self._service.find(wanted.model)
        options = wanted.options
        engine = self._service.engine
        if engine and options.num_ctx and options.num_ctx > engine.max_context:
            raise errors.UnsupportedParameter(
                f"The context holds {engine.max_context} tokens.", param="options.num_ctx"
            )
        began = time.monotonic_ns()
        sampling = generation.SamplingParams(options.temperature, options.top_p, options.seed)
        tokens = options.num_predict if options.num_predict > 0 else None
        answer = await self._service.begin(
            services.Ask(entry, encode, sampling, tokens, options.stops)
        )
        lines = _Lines(wanted.model, piece, began)
        headers = http.facts(entry)
        if wanted.stream:
            return http.Stream(lines.stream(answer), "application/x-ndjson", headers)
        done = await http.cancel_on_disconnect(request, services.whole(answer))
        last = lines.last(
            done.text, done.finish, answer.prompt_tokens, done.tokens, first=done.first_ns
        )
        return JSONResponse(last, headers=headers)


class _Lines:
    """The lines of one answer."""

    def __init__(self, model: str, piece: Callable[[str], dict[str, Any]], began: int) -> None:
        self._model = model
        self._piece = piece
        self._began = began

    async def stream(self, answer: services.Answer) -> AsyncIterator[str]:
        first = 0
        try:
            async for delta in answer.deltas:
                first = first or time.monotonic_ns()
                if delta.finish is not None:
                    if delta.text:
                        yield self._line(delta.text, done=False)
                    last = self.last(
                        "", str(delta.finish), answer.prompt_tokens, delta.tokens, first=first
                    )
                    yield json.dumps(last) + "\n"
                elif delta.text:
                    yield self._line(delta.text, done=False)
        except errors.Rejection as refusal:
            yield json.dumps(refusal.to_ollama()) + "\n"
        finally:
            close = getattr(answer.deltas, "aclose", None)
            if close is not None:
                await close()

    def last(
        self, text: str, finish: str, prompt_tokens: int, tokens: int, *, first: int
    ) -> dict[str, Any]:
        """The line that ends an answer, with durations in nanoseconds."""
        now = time.monotonic_ns()
        return {
            **self._facts(text, done=True),
            "done_reason": finish,
            "total_duration": now - self._began,
            "load_duration": 0,
            "prompt_eval_count": prompt_tokens,
            "prompt_eval_duration": first - self._began,
            "eval_count": tokens,
            "eval_duration": now - first,
        }

    def _line(self, text: str, *, done: bool) -> str:
        return json.dumps(self._facts(text, done=done)) + "\n"

    def _facts(self, text: str, *, done: bool) -> dict[str, Any]:
        created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {
            "model": self._model,
            "created_at": created,
            **self._piece(text),
            "done": done,
        }
