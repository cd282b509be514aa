"""The operator process: builds every part once, runs them, ends in the right order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from datetime import UTC, datetime
from typing import Any, Final

from mens.artifacts import store
from mens_operator import events, health, informers, reconciler, store_reader
from mens_operator import settings as configuration
from mens_operator.cluster import kinds, kubernetes, lease, queue
from mens_operator.handlers import supervisor

_LOG = logging.getLogger(__name__)
_PATIENCE: Final = 4.0
"""Seconds for reconciles in flight to end: a write takes 3 s at most."""
_WIDTH: Final = 10
"""Reconciles in flight."""
_UNREAD: Final = 10.0
"""Seconds after which a key is looked at again whose namespace cannot be read."""


def _now() -> datetime:
    return datetime.now(UTC)


class Operator:
    """One process of the operator, leading or standing by."""

    def __init__(
        self,
        settings: configuration.Settings,
        cluster: kubernetes.KubernetesCluster,
        source: store.ObjectStore,
    ) -> None:
        key = kinds.Key(kinds.LEASE, settings.operator_namespace, settings.lease_name)
        self.elector = lease.Elector(cluster, key, settings.identity)
        fenced = lease.Fenced(cluster, self.elector.fence)
        self.queue = queue.WorkQueue(time.monotonic)
        self._store = store_reader.StoreReader(source, time.monotonic)
        recorder = events.EventRecorder(fenced, settings.identity, clock=time.monotonic, now=_now)
        self.reconciler = reconciler.Reconciler(
            cluster=fenced,
            store=self._store,
            recorder=recorder,
            work=self.queue,
            installation=settings.installation,
            policy=settings.policy,
            now=_now,
        )
        self.informers = informers.Informers(
            cluster, self.reconciler.cache, settings.namespaces, clock=time.monotonic
        )
        loop = asyncio.get_running_loop()
        self.supervisor = supervisor.Supervisor(
            ask=cluster.raw,
            on_event=lambda type_, obj: _call(loop, self.informers.handle_event, type_, obj),
            on_gap=self.informers.request_relist,
            namespaces=settings.namespaces,
            identity=settings.identity,
            clock=time.monotonic,
        )
        self._health = health.HealthServer(
            port=settings.health_port,
            problems=self.problems,
            unready=self.unready,
            numbers=self.numbers,
        )

    # -- running -------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> int:
        """Run until told to stop (0) or until something that must not end has ended (1)."""
        await self._health.start()
        leading = asyncio.create_task(self.elector.run(), name="lease")
        working = asyncio.create_task(self._work(), name="work")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        others = [
            asyncio.create_task(reflector.run(), name=f"watch {reflector.scope.kind.plural}")
            for reflector in self.informers.reflectors
        ]
        others += [
            asyncio.create_task(self.supervisor.run(), name="kopf"),
            asyncio.create_task(self.informers.relist(self.supervisor), name="list"),
        ]
        tasks = {leading, working, stopping, *others}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            _LOG.error("%s ended: %s", task.get_name(), task.exception() or "no error")
        # What is in flight ends first: then no write of ours can follow the lease's release.
        self.queue.stop()
        if stopping in done and self.elector.led.is_set():
            await asyncio.wait({working}, timeout=_PATIENCE)
        await _cancelled(working)
        await _cancelled(leading)
        if stopping in done:
            await self.elector.release()
        for task in (stopping, *others):
            await _cancelled(task)
        await self.supervisor.close()
        self._store.close()
        await self._health.close()
        return 0 if stopping in done else 1

    async def _work(self) -> None:
        """Work as soon as this process leads and has seen everything once."""
        await self.elector.led.wait()
        while not self.informers.all_synced():  # noqa: ASYNC110  # once
            await asyncio.sleep(0.05)
        _LOG.info("working on %d resources", len(self.queue))
        await self.queue.run(self._reconcile, _WIDTH)

    async def _reconcile(self, key: kinds.Key) -> float | None:
        """Reconcile; not while its namespace cannot be read, since plans need whole lists."""
        if not self.informers.has_synced(key.namespace):
            return _UNREAD
        return await self.reconciler(key)

    # -- what others ask -----------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Return why this process should be killed."""
        out = self.informers.problems(self.elector.reachable)
        kopf = self.supervisor.problem()
        if kopf:
            out.append(kopf)
        if self.elector.led.is_set() and not self.elector.leads:
            out.append("the lease was lost")
        return out

    def unready(self) -> list[str]:
        """Return what is missing before this process could lead."""
        missing = [f"CRD {name} is not served" for name in self.supervisor.waiting_for]
        missing += self.informers.unready()
        if self.elector.refused:
            missing.append(f"the lease is refused: {self.elector.refused}")
        elif not self.elector.reachable:
            missing.append("the API server does not answer")
        return missing

    def numbers(self) -> dict[str, float]:
        """Return metrics."""
        return {
            "mens_operator_leader": float(self.elector.leads),
            "mens_operator_queue_length": float(len(self.queue)),
            "mens_operator_reconciles_in_flight": float(self.queue.active),
            "mens_operator_reconciles_total": float(self.reconciler.reconciled),
            "mens_operator_kopf_starts_total": float(self.supervisor.starts),
            **self.informers.metrics(),
        }


def _call(loop: asyncio.AbstractEventLoop, function: Any, *arguments: Any) -> None:
    """Call in our loop from kopf's thread; at the end there may be no loop any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *arguments)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def main(settings: configuration.Settings, source: store.ObjectStore) -> int:
    """Connect, run until SIGTERM or SIGINT, and return the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    cluster = await kubernetes.connect(settings.kubeconfig)
    try:
        return await Operator(settings, cluster, source).run(stop)
    finally:
        await cluster.close()
