"""Kubernetes events: few, deduplicated, rate limited, and never a reason to fail."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from mens_operator.cluster import errors, kinds, lease
from mens_operator.manifests import names
from mens_operator.plans import outcomes

_LOG = logging.getLogger(__name__)
_NORMAL: Final = (20, 1.0)
"""Burst and events per second of all resources together. A mass start drops most of them; the
conditions contain the same information."""
_WARNINGS: Final = (10, 1 / 60)
"""Burst and events per second of one resource: many events of one do not silence another."""
_REPEAT_SECONDS: Final = 300.0
_REMEMBERED: Final = 2000
_NOTE_LIMIT: Final = 1024
"""Maximum bytes of a note that the API server accepts."""


class _Bucket:
    """A token bucket."""

    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._tokens, self._filled = float(burst), now

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        come_back = (now - self._filled) * self._per_second
        self._tokens, self._filled = min(self._burst, self._tokens + come_back), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class EventRecorder:
    """Writes events.k8s.io/v1 events."""

    def __init__(
        self,
        cluster: lease.Fenced,
        identity: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._identity = identity
        self._clock = clock
        self._now = now
        self._normal = _Bucket(*_NORMAL, clock())
        self._warnings: OrderedDict[str, _Bucket] = OrderedDict()
        """UID of the resource -> its bucket."""
        self._recorded: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    async def record(self, about: kinds.Object, note: outcomes.Event) -> None:
        """Write an event, unless it repeats a recent one or exceeds the rate."""
        uid = about["metadata"]["uid"]
        known = (uid, note.reason, note.message)
        last = self._recorded.get(known)
        if last is not None and self._clock() - last < _REPEAT_SECONDS:
            return
        if not self._allowed(uid, note):
            return
        self._recorded[known] = self._clock()
        while len(self._recorded) > _REMEMBERED:
            self._recorded.popitem(last=False)
        try:
            await self._cluster.create(self._event(about, note))
        except errors.ClusterError as error:
            _LOG.info("event %s not written: %s", note.reason, error)

    def _allowed(self, uid: str, note: outcomes.Event) -> bool:
        now = self._clock()
        if not note.warning:
            return self._normal.take(now)
        bucket = self._warnings.setdefault(uid, _Bucket(*_WARNINGS, now))
        self._warnings.move_to_end(uid)
        while len(self._warnings) > _REMEMBERED:
            self._warnings.popitem(last=False)
        return bucket.take(now)

    def _event(self, about: kinds.Object, note: outcomes.Event) -> dict[str, Any]:
        meta, stamp = about["metadata"], self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        tail = names.key(meta["uid"], note.reason, note.message, stamp)
        return {
            "apiVersion": kinds.EVENT.api_version,
            "kind": kinds.EVENT.name,
            "metadata": {"namespace": meta["namespace"], "name": f"{meta['name'][:240]}.{tail}"},
            "eventTime": stamp,
            "type": "Warning" if note.warning else "Normal",
            "reason": note.reason,
            "note": note.message.encode()[:_NOTE_LIMIT].decode(errors="ignore"),
            "action": "Reconcile",
            "reportingController": "mens.vox-lang.org/operator",
            "reportingInstance": self._identity[:128] or "mens-operator",
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
        }
