"""A bound on open requests, below the routes of the two protocols only.

uvicorn's own bound would refuse the kubelet's probes too: a busy pod would be restarted for being
busy.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mens_server.app import http
from mens_server.app import service as services
from mens_server.protocol import errors

SHAPES: Final = {
    "/v1/": errors.Rejection.to_openai,
    "/api/": errors.Rejection.to_ollama,
}
"""Paths whose requests are counted, and how they are told."""


class AdmissionMiddleware:
    """An application that holds so many requests at a time; used by one event loop."""

    def __init__(self, app: ASGIApp, service: services.Service) -> None:
        self._app = app
        self._service = service
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse before the body is read."""
        path = scope["path"] if scope["type"] == "http" else ""
        shape = next((SHAPES[start] for start in SHAPES if path.startswith(start)), None)
        if shape is None:
            await self._app(scope, receive, send)
            return
        if self._open >= self._service.limits.open_requests:
            refusal = errors.TooManyOpen(f"{self._open} requests are open: try again later.")
            await http.refuse(self._service, refusal, shape)(scope, receive, send)
            return
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
