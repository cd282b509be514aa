"""The ASGI application of a service."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from mens_server.app import admission, http, ollama, openai, probes
from mens_server.app import service as services
from mens_server.protocol import errors


def build(service: services.Service) -> Starlette:
    """All routes; there are none that load, unload or configure anything."""

    async def not_routed(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        kind = errors.MethodNotAllowed if status == 405 else errors.RouteNotFound
        refusal = kind(f"{request.method} {request.url.path[:200]} is not a route of this server.")
        return http.refuse(service, refusal, errors.Rejection.to_openai)

    return Starlette(
        routes=[*probes.routes(service), *openai.routes(service), *ollama.routes(service)],
        exception_handlers={404: not_routed, 405: not_routed},
        middleware=[Middleware(admission.AdmissionMiddleware, service=service)],
    )
