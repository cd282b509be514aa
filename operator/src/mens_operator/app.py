"""The operator process: builds every part once, runs them, ends in the right order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from mens.artifacts import store
from mens_operator import eventing, health, reconciling, storage
from mens_operator import settings as configuration
from mens_operator.cluster import cache, errors, kinds, kubernetes, lease, queue, watch
from mens_operator.handlers import supervising

_LOG = logging.getLogger(__name__)
_RELIST: Final = 600.0
"""Seconds between our own lists of the three kinds; kopf never tells what vanished in a gap."""
_DEAF: Final = 60.0
"""Seconds that kopf may be behind our list before it counts as deaf."""
_SILENCE: Final = 300.0
"""Seconds without even a bookmark after which a watch counts as dead."""
_PATIENCE: Final = 4.0
"""Seconds for reconciles in flight to end: a write takes 3 s at most."""
_WIDTH: Final = 10
"""Reconciles in flight."""


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
        self._settings = settings
        self._cluster = cluster
        self._gap = asyncio.Event()
        self._delivered: dict[str, int] = {}
        self._scopes = settings.namespaces or (None,)
        key = kinds.Key(kinds.LEASE, settings.operator_namespace, settings.lease_name)
        self.elector = lease.Elector(cluster, key, settings.identity)
        fenced = lease.Fenced(cluster, self.elector.fence)
        self.queue = queue.WorkQueue(time.monotonic)
        self._store = storage.StoreReader(source, time.monotonic)
        recorder = eventing.Recorder(fenced, settings.identity, clock=time.monotonic, now=_now)
        self.reconciler = reconciling.Reconciler(
            cluster=fenced,
            store=self._store,
            recorder=recorder,
            work=self.queue,
            installation=settings.installation,
            policy=settings.policy,
            now=_now,
        )
        self.followers = [
            watch.Follower(
                cluster,
                watch.Scope(kind, namespace, cache.CHILD_SELECTOR),
                self.reconciler.cache,
                clock=time.monotonic,
            )
            for kind in kinds.CHILDREN
            for namespace in self._scopes
        ]
        loop = asyncio.get_running_loop()
        self.supervisor = supervising.Supervisor(
            ask=cluster.raw,
            hear=lambda type_, obj: _call(loop, self._hear, type_, obj),
            on_gap=self._gap.set,
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
            asyncio.create_task(follower.run(), name=f"watch {follower.scope.kind.plural}")
            for follower in self.followers
        ]
        others += [
            asyncio.create_task(self.supervisor.run(), name="kopf"),
            asyncio.create_task(self._relist(), name="list"),
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
        while not self.reconciler.cache.is_complete(self._lists()):  # noqa: ASYNC110  # once
            await asyncio.sleep(0.05)
        _LOG.info("working on %d resources", len(self.queue))
        await self.queue.run(self.reconciler, _WIDTH)

    def _lists(self) -> list[tuple[kinds.Kind, str | None]]:
        return [
            (kind, namespace)
            for kind in (*kinds.RESOURCES, *kinds.CHILDREN)
            for namespace in self._scopes
        ]

    def _hear(self, type_: str, obj: Mapping[str, Any]) -> None:
        """Take an event of kopf's, in our own loop."""
        uid = obj["metadata"]["uid"]
        if type_ == "DELETED":
            self._delivered.pop(uid, None)
            self.reconciler.cache.drop(kinds.key_of(obj), uid=uid)
            return
        self._delivered[uid] = max(kinds.version_of(obj), self._delivered.get(uid, 0))
        self.reconciler.cache.put(obj)

    async def _relist(self) -> None:
        """List the three kinds after every gap and every ten minutes."""
        pause = 1.0
        hearing = asyncio.create_task(asyncio.sleep(0), name="hearing")
        while True:
            self._gap.clear()
            try:
                for kind in kinds.RESOURCES:
                    for namespace in self._scopes:
                        scope = watch.Scope(kind, namespace)
                        await watch.list_all(self._cluster, scope, self.reconciler.cache)
                pause = 1.0
            except errors.ClusterError as error:
                _LOG.info("cannot list the resources yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)
                continue
            hearing.cancel()
            hearing = asyncio.create_task(self._check_hearing(), name="hearing")
            try:
                await asyncio.wait_for(self._gap.wait(), _RELIST)
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                hearing.cancel()
                raise

    async def _check_hearing(self) -> None:
        """Start kopf anew if it still has not told what our list shows."""
        listed = {
            obj["metadata"]["uid"]: kinds.version_of(obj)
            for kind in kinds.RESOURCES
            for obj in self.reconciler.cache.of_kind(kind)
        }
        await asyncio.sleep(_DEAF)
        missed = [
            uid
            for uid, version in listed.items()
            if uid in self._alive() and self._delivered.get(uid, 0) < version
        ]
        if missed and not self.supervisor.waiting_for and not self._gap.is_set():
            _LOG.warning("kopf has not told of %d changed resources: restarting it", len(missed))
            self.supervisor.restart()

    def _alive(self) -> set[str]:
        found = (self.reconciler.cache.of_kind(kind) for kind in kinds.RESOURCES)
        return {obj["metadata"]["uid"] for objects in found for obj in objects}

    # -- what others ask -----------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Return why this process should be killed."""
        now = time.monotonic()
        out = [
            f"watch of {follower.scope.kind.plural} heard nothing for {_SILENCE:.0f} s"
            for follower in self.followers
            if now - follower.heard_at > _SILENCE
        ]
        kopf = self.supervisor.problem()
        if kopf:
            out.append(kopf)
        if self.elector.led.is_set() and not self.elector.leads:
            out.append("the lease was lost")
        return out

    def unready(self) -> list[str]:
        """Return what is missing before this process could lead."""
        missing = [f"CRD {name} is not served" for name in self.supervisor.waiting_for]
        if not self.reconciler.cache.is_complete(self._lists()):
            missing.append("the first lists are not complete")
        return missing

    def numbers(self) -> dict[str, float]:
        """Return metrics."""
        now = time.monotonic()
        ages = {
            f'mens_operator_watch_age_seconds{{resource="{item.scope.kind.plural}"'
            f',namespace="{item.scope.namespace or ""}"}}': now - item.heard_at
            for item in self.followers
        }
        return {
            "mens_operator_leader": float(self.elector.leads),
            "mens_operator_queue_length": float(len(self.queue)),
            "mens_operator_reconciles_in_flight": float(self.queue.active),
            "mens_operator_reconciles_total": float(self.reconciler.reconciled),
            "mens_operator_kopf_starts_total": float(self.supervisor.starts),
            **ages,
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
