"""What Kubernetes, Prometheus and lawyers ask."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mens_server.app import service as services


def routes(service: services.Service) -> list[Route]:
    """/health, /ready, /metrics and /attribution."""
    pages = _Handlers(service)
    return [
        Route("/health", pages.health, methods=["GET"]),
        Route("/ready", pages.ready, methods=["GET"]),
        Route("/metrics", pages.metrics, methods=["GET"]),
        Route("/attribution", pages.attribution, methods=["GET"]),
    ]


class _Handlers:
    def __init__(self, service: services.Service) -> None:
        self._service = service

    async def health(self, _: Request) -> Response:
        """200 while the engine's loop turns, or while there is no engine yet."""
        engine = self._service.engine
        age = None if engine is None else round(engine.heartbeat_age(), 3)
        alive = self._service.alive
        body = {"alive": alive, "heartbeatAgeSeconds": age}
        return JSONResponse(body, status_code=200 if alive else 503)

    async def ready(self, _: Request) -> Response:
        """200 when requests are welcome; otherwise the phase and the reason."""
        report = self._service.readiness.report()
        return JSONResponse(report, status_code=200 if report["ready"] else 503)

    async def metrics(self, _: Request) -> Response:
        """Text for Prometheus."""
        return Response(
            self._service.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def attribution(self, _: Request) -> Response:
        """Who must be named and what must be kept to, for everything that is served."""
        models = [
            {
                "name": entry.name,
                "digest": entry.digest,
                "baseDigest": entry.base_digest,
                "upstream": entry.upstream,
                "compliance": entry.compliance,
                "notice": entry.notice,
            }
            for entry in self._service.models.entries()
        ]
        return JSONResponse({"models": models})
