"""The edge of HTTP: bounded bodies, errors in each protocol's shape, clients that went away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mens_server import limits, model_registry
from mens_server.app import service as services
from mens_server.protocol import errors

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

CLIENT_CLOSED_REQUEST: Final = 499
"""Status in our logs for a client that did not wait."""


async def body(request: Request, bounds: limits.Limits) -> bytes:
    """Read the body, and stop reading when it is too large or takes too long."""
    limit = bounds.body_bytes
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit)
    data = bytearray()
    try:
        async with asyncio.timeout(bounds.body_seconds):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise errors.BodyTooSlow(
            f"The body did not arrive within {bounds.body_seconds:g} seconds."
        ) from error
    return bytes(data)


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await the work, but cancel it when the client disconnects."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        watcher.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def facts(entry: model_registry.ServedModel) -> dict[str, str]:
    """Headers that say whose bytes produced the answer."""
    headers = {"x-mens-model-digest": entry.digest, "x-mens-base-digest": entry.base_digest}
    if entry.is_adapter:
        headers["x-mens-adapter-digest"] = entry.digest
    return headers


def with_error_responses(
    service: services.Service,
    handler: Callable[[Request], Awaitable[Response]],
    shape: Callable[[errors.Rejection], dict[str, Any]],
) -> Callable[[Request], Awaitable[Response]]:
    """A handler whose refusals become answers in the protocol's shape."""

    async def guard(request: Request) -> Response:
        try:
            return await handler(request)
        except errors.Rejection as refusal:
            return refuse(service, refusal, shape)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except Exception:
            _log.exception("a request failed")
            failed = errors.EngineFailed("The server failed on this request.")
            return refuse(service, failed, shape)

    return guard


def refuse(
    service: services.Service,
    refusal: errors.Rejection,
    shape: Callable[[errors.Rejection], dict[str, Any]],
) -> Response:
    """Answer with a refusal."""
    service.metrics.refused(refusal.code)
    headers = {}
    if refusal.retry_after_seconds is not None:
        headers["retry-after"] = str(refusal.retry_after_seconds)
    if refusal.leaves_body:
        headers["connection"] = "close"
    return JSONResponse(shape(refusal), status_code=refusal.status, headers=headers)


class Stream(StreamingResponse):
    """A stream whose source is closed with it, so that the engine's slot is free at once."""

    def __init__(
        self, source: AsyncIterator[str], media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(source, media_type=media_type, headers={**headers, **_UNBUFFERED})
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, and close the source whatever happens."""
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            _log.debug("the client went away")
        finally:
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()


_UNBUFFERED: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_large(limit: int) -> errors.BodyTooLarge:
    return errors.BodyTooLarge(f"The body is larger than {limit} bytes.")
