"""What a kubelet and a scraper ask: alive, ready, and a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web


class HealthServer:
    """Serves /healthz, /readyz and /metrics from functions that are called for each request."""

    def __init__(
        self,
        *,
        port: int,
        problems: Callable[[], list[str]],
        unready: Callable[[], list[str]],
        numbers: Callable[[], Mapping[str, float]],
        host: str = "",
    ) -> None:
        self._host = host
        self._port = port
        self._problems = problems
        self._unready = unready
        self._numbers = numbers
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host or None, self._port).start()

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self._problems())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._unready())

    async def _metrics(self, _: web.Request) -> web.Response:
        lines = [f"{name} {value:g}\n" for name, value in sorted(self._numbers().items())]
        return web.Response(text="".join(lines), content_type="text/plain")


def _answer(troubles: list[str]) -> web.Response:
    if troubles:
        return web.Response(status=503, text="\n".join(troubles) + "\n")
    return web.Response(text="ok\n")
