"""Admission control: a maximum of open requests, for the routes of the two protocols only.

The limit of uvicorn would reject the probes of the kubelet, too, and a busy pod would be restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mens_server.app import http
from mens_server.app import service as services
from mens_server.protocol import errors

ERROR_FORMATS: Final = {
    "/v1/": errors.Rejection.to_openai,
    "/api/": errors.Rejection.to_ollama,
}
"""Prefix of the paths whose requests are counted -> format of the error."""
DRAIN_SECONDS: Final = 0.5
"""Maximum time to read the body of a rejected request. A connection that is closed with unread
bytes is reset, and the client would see the reset instead of the 429."""


class AdmissionMiddleware:
    """Passes on a maximum number of requests at a time; used by one event loop."""

    def __init__(self, app: ASGIApp, service: services.Service) -> None:
        self._app = app
        self._service = service
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reject it without keeping its body."""
        path = scope["path"] if scope["type"] == "http" else ""
        shape = next(
            (ERROR_FORMATS[start] for start in ERROR_FORMATS if path.startswith(start)), None
        )
        if shape is None:
            await self._app(scope, receive, send)
            return
        if self._open >= self._service.limits.open_requests:
            refusal = errors.TooManyOpen(f"{self._open} requests are open: try again later.")
            await _drain(receive)
            await http.refuse(self._service, refusal, shape)(scope, receive, send)
            return
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1


async def _drain(receive: Receive) -> None:
    """Read and drop the body of a request, until its end or for `DRAIN_SECONDS`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await receive()).get("more_body", False):
                pass
