"""Leader election by a Lease, with a fence that no write passes once leadership may be lost.

The arithmetic: a leader renews every 2 s. Each renewal that is answered moves its fence to 6 s
after the *beginning* of that request. One that fails, or takes 2 s, is followed by another at once:
two that hang until they are given up fit before the fence falls. A write may take up to 3 s on the
wire, so the last one has landed 9 s after a renewal began. A reflector takes over no earlier than
10 s after it saw the record change, by its own clock, and the record changed after that renewal
began. CLOCK_BOOTTIME also counts while the machine sleeps, and a process that was stopped finds its
fence down.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mens_operator.cluster import errors, kinds, port

_LOG = logging.getLogger(__name__)
_GAP: Final = 15.0
"""Seconds without an answer after which the API server counts as away."""


@dataclass(frozen=True)
class Timing:
    """Seconds; see the arithmetic above."""

    lease: float = 10.0
    """How long a reflector waits after the record last changed."""
    fence: float = 6.0
    """How long a renewal allows to write."""
    renew: float = 2.0
    """Pause between renewals."""
    attempt: float = 2.0
    """How long one renewal may take, if the fence stands so long."""
    retry: float = 0.2
    """Pause after a renewal that failed."""
    poll: float = 0.5
    """How often a reflector looks: a late look delays a take-over by that much."""


def boottime() -> float:
    """Seconds since boot, also counting while the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Elector:
    """Holds or waits for one Lease."""

    def __init__(
        self,
        cluster: port.Cluster,
        key: kinds.Key,
        identity: str,
        *,
        timing: Timing = Timing(),  # frozen
        clock: Callable[[], float] = boottime,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._key = key
        self._identity = identity
        self._timing = timing
        self._clock = clock
        self._now = now
        self._deadline = float("-inf")
        self._lease: kinds.Object | None = None
        self._answers = (float("-inf"), float("-inf"))
        """Since when the API server has answered without a gap, and when last."""
        self.led = asyncio.Event()
        """Set once this process has become the leader."""
        self.refused: str | None = None
        """What the API server refuses about the Lease; None while it refuses nothing."""

    @property
    def leads(self) -> bool:
        """Whether this process may write now."""
        return self._clock() < self._deadline

    @property
    def reachable(self) -> float:
        """For how many seconds the API server has answered, 0 while it is away.

        The lease is asked for all the time, by leaders and reflectors alike, so it knows best.
        """
        since, last = self._answers
        return self._clock() - since if self._clock() - last <= _GAP else 0.0

    def fence(self) -> None:
        """Raise NotLeader unless this process may write now; called right before every write."""
        if not self.leads:
            raise errors.NotLeader("the lease is not held, or its renewal is overdue")

    async def run(self) -> None:
        """Wait for the lease, then keep it; returns when it is lost."""
        await self._acquire()
        _LOG.info("leading as %s", self._identity)
        self.led.set()
        pause = self._timing.renew
        while self.leads:
            await asyncio.sleep(pause)
            pause = self._timing.renew if await self._renew() else self._timing.retry
        _LOG.error("lost the lease: exiting")

    async def release(self) -> None:
        """Give the lease back, so that a successor need not wait; errors do not matter any more."""
        if not self.leads or self._lease is None:
            return
        self._deadline = float("-inf")
        try:
            await self._cluster.replace(self._record(self._lease, holder=""))
        except errors.ClusterError as error:
            _LOG.warning("cannot release the lease: %s", error)

    async def _acquire(self) -> None:
        """Take the lease when it is free, or when nobody renewed it for long enough."""
        seen: Mapping[str, Any] | None = None
        seen_at = self._clock()
        while True:
            try:
                lease = await self._cluster.get(self._key)
                spec = dict(lease["spec"]) if lease else {}
                self._answered()
                if lease is None or spec != seen:
                    seen, seen_at = spec, self._clock()
                free = not spec.get("holderIdentity") or spec["holderIdentity"] == self._identity
                if free or self._clock() - seen_at >= self._timing.lease:
                    await self._take(lease)
                    return
                self.refused = None
            except (errors.Refused, errors.NotFound) as error:
                self._say_refused(error)
            except errors.ClusterError as error:
                _LOG.info("the lease is not to be had: %s", error)
            await asyncio.sleep(self._timing.poll)

    async def _take(self, lease: kinds.Object | None) -> None:
        begun = self._clock()
        record = self._record(lease, holder=self._identity)
        write = self._cluster.create if lease is None else self._cluster.replace
        self._lease = await write(record)
        self._deadline = begun + self._timing.fence
        self.refused = None

    def _say_refused(self, error: errors.ClusterError) -> None:
        self._answered()
        if self.refused is None:
            text = (
                "the API server refuses the lease %s/%s, so nobody leads: %s. Bind the chart's role"
            )
            text += " for leases there to the operator's service account."
            _LOG.warning(text, self._key.namespace, self._key.name, error)
        self.refused = str(error)

    def _answered(self) -> None:
        now = self._clock()
        since, last = self._answers
        self._answers = (since if now - last <= _GAP else now, now)

    async def _renew(self) -> bool:
        """Renew once, while the fence stands; a failure leaves the fence where it was."""
        begun = self._clock()
        left = self._deadline - begun
        if self._lease is None or left <= 0:
            return False
        record = self._record(self._lease, holder=self._identity)
        try:
            async with asyncio.timeout(min(self._timing.attempt, left)):
                try:
                    self._lease = await self._cluster.replace(record)
                except errors.Conflict:
                    await self._look_again()
                    return False
        except (errors.ClusterError, TimeoutError) as error:
            _LOG.warning("cannot renew the lease: %s", str(error) or "no answer in time")
            return False
        self._deadline = begun + self._timing.fence
        self._answered()
        return True

    async def _look_again(self) -> None:
        """After a conflict: our own renewal whose answer was lost, or another leader."""
        lease = await self._cluster.get(self._key)
        if lease is None or lease["spec"].get("holderIdentity") != self._identity:
            self._deadline = float("-inf")
            return
        self._lease = lease

    def _record(self, lease: kinds.Object | None, *, holder: str) -> dict[str, Any]:
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = dict(lease["spec"]) if lease else {}
        changed = old.get("holderIdentity") != holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, int(self._timing.lease)),
            "renewTime": stamp,
            "acquireTime": stamp if changed else old.get("acquireTime", stamp),
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if changed else 0),
        }
        meta: dict[str, Any] = {"namespace": self._key.namespace, "name": self._key.name}
        if lease:
            meta["resourceVersion"] = lease["metadata"]["resourceVersion"]
        return {
            "apiVersion": kinds.LEASE.api_version,
            "kind": kinds.LEASE.name,
            "metadata": meta,
            "spec": spec,
        }


class Fenced:
    """A cluster whose every write passes the fence first; reads pass freely (warm standby)."""

    def __init__(self, cluster: port.Cluster, fence: Callable[[], None]) -> None:
        self._cluster = cluster
        self._fence = fence

    async def apply(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        self._fence()
        return await self._cluster.apply(obj)

    async def apply_status(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        self._fence()
        return await self._cluster.apply_status(obj)

    async def create(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        self._fence()
        return await self._cluster.create(obj)

    async def delete(self, key: kinds.Key, *, uid: str | None = None) -> bool:
        """See `port.Cluster`."""
        self._fence()
        return await self._cluster.delete(key, uid=uid)

    async def get(self, key: kinds.Key) -> kinds.Object | None:
        """See `port.Cluster`."""
        return await self._cluster.get(key)
