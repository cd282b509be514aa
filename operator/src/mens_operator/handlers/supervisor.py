"""Runs kopf in a thread and an event loop of its own, and restarts it when it ends.

kopf stays idle forever if a CRD is absent when it starts, and it ends after a 404 or a minute of
errors. The supervisor therefore polls discovery first, and restarts kopf after a pause.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import kopf

from mens_operator.cluster import errors, kinds
from mens_operator.handlers import events

_LOG = logging.getLogger(__name__)
_DISCOVERY_PAUSE: Final = 2.0
_PAUSE: Final = (1.0, 30.0)
"""First and maximum pause between an end and the next start, in seconds."""
_BEAT: Final = 2.0
_STUCK_SECONDS: Final = 30.0
"""Seconds without a heartbeat after which the event loop of kopf counts as stuck."""

Ask = Callable[[str], Awaitable[Mapping[str, Any]]]
"""GETs a path of the API server."""


class Supervisor:
    """Runs kopf; `on_gap` is called before each start, since events may have been missed."""

    def __init__(
        self,
        *,
        ask: Ask,
        on_event: events.EventHandler,
        on_gap: Callable[[], None],
        namespaces: Sequence[str],
        identity: str,
        clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._on_event = on_event
        self._on_gap = on_gap
        self._namespaces = tuple(namespaces)
        self._identity = identity
        self._clock = clock
        self._beat_at = clock()
        self._runner: _Runner | None = None
        self.starts = 0
        """Number of starts of kopf, for metrics."""
        self.waiting_for: tuple[str, ...] = tuple(kind.plural for kind in kinds.RESOURCES)
        """CRDs that the API server does not serve yet."""

    def problem(self) -> str | None:
        """Return why the liveness probe must fail. Waiting for CRDs is not a reason."""
        if self.waiting_for or self._clock() - self._beat_at < _STUCK_SECONDS:
            return None
        return "kopf's event loop does not answer"

    def follow(self, namespaces: Sequence[str]) -> None:
        """Watch these namespaces from now on; if they are none, go on as before.

        kopf ends as a whole when one of its namespaces is refused.
        """
        if not namespaces or tuple(namespaces) == self._namespaces:
            return
        self._namespaces = tuple(namespaces)
        self.restart()

    def restart(self) -> None:
        """End kopf; the supervisor starts it again."""
        if self._runner is not None:
            self._runner.stop()

    async def close(self, seconds: float = 5.0) -> None:
        """Let kopf end in order, so that it closes its connections."""
        if self._runner is None:
            return
        self._runner.stop()
        try:
            await asyncio.wait_for(self._runner.ended(), seconds)
        except TimeoutError:
            _LOG.warning("kopf did not end in time")

    async def run(self) -> None:
        """Run kopf again and again until canceled."""
        pause = _PAUSE[0]
        while True:
            await self._discover()
            begun = self._clock()
            self._on_gap()
            self._runner = _Runner(self._operate, self._beat)
            self.starts += 1
            try:
                await self._runner.ended()
            finally:
                self._runner.stop()
            lasted = self._clock() - begun
            pause = _PAUSE[0] if lasted > _PAUSE[1] else min(pause * 2, _PAUSE[1])
            _LOG.warning("kopf ended after %.0f s; it is started again in %.0f s", lasted, pause)
            self._beat()
            await asyncio.sleep(pause)

    def _beat(self) -> None:
        self._beat_at = self._clock()

    async def _discover(self) -> None:
        """Wait until the API server serves all three kinds."""
        while True:
            try:
                served = await self._ask(f"/apis/{kinds.CORPUS.api_version}")
                found = {item["name"] for item in served.get("resources") or ()}
            except errors.ClusterError:
                found = set()
            self.waiting_for = tuple(
                kind.plural for kind in kinds.RESOURCES if kind.plural not in found
            )
            self._beat()
            if not self.waiting_for:
                return
            _LOG.info("waiting for CRDs: %s", ", ".join(self.waiting_for))
            await asyncio.sleep(_DISCOVERY_PAUSE)

    async def _operate(self, stop: asyncio.Event) -> None:
        await kopf.operator(
            registry=events.registry(self._on_event),
            settings=events.settings(),
            # Without an identity kopf looks up the host's name by reverse DNS: 7 s in a pod.
            identity=self._identity,
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=stop,
        )


class _Runner:
    """One life of kopf, in a thread with its own event loop."""

    def __init__(
        self,
        operate: Callable[[asyncio.Event], Awaitable[None]],
        beat: Callable[[], None],
    ) -> None:
        self._operate = operate
        self._beat = beat
        self._home = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._asked = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="kopf", daemon=True)
        self._thread.start()

    async def ended(self) -> None:
        """Wait for the end of the thread's work."""
        await self._over.wait()

    def stop(self) -> None:
        """Ask kopf to end, also before its loop is there; a second time does nothing."""
        self._asked.set()
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            _LOG.exception("kopf failed")
        finally:
            if not self._home.is_closed():
                self._home.call_soon_threadsafe(self._over.set)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._asked.is_set():
            return
        # Made before kopf starts: on its end it cancels all tasks that are younger than itself.
        beating = asyncio.create_task(self._keep_beating())
        try:
            await self._operate(self._stop)
        finally:
            beating.cancel()

    async def _keep_beating(self) -> None:
        while True:
            self._beat()
            await asyncio.sleep(_BEAT)
