"""Reconciles one resource: read, plan, apply, report; the same for every wake-up."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from mens_operator import events, store_reader
from mens_operator.cluster import cache, errors, kinds, lease, queue
from mens_operator.manifests import names, platform
from mens_operator.plans import facts, outcomes, planner

_LOG = logging.getLogger(__name__)
_ROUNDS: Final = 6
"""Maximum rounds of queries and answers: base, then adapters, then storage. Three are enough."""
_SOON: Final = 0.2
"""Seconds after a lost race: the watch has delivered the newer object by then."""
_CHILD_DELAY: Final = 0.03
"""Seconds by which changes of children are batched: a starting pod changes Job and Pod."""

_NAMED_BY_USERS: Final = (kinds.DEPLOYMENT, kinds.SERVICE)
"""Kinds whose names have no hash in them, so that a namesake may exist."""

_KINDS: Final = {kind.name: kind for kind in kinds.RESOURCES}


class Reconciler:
    """Reconciles resources; every dependency is a parameter."""

    def __init__(
        self,
        *,
        cluster: lease.Fenced,
        store: store_reader.StoreReader,
        recorder: events.EventRecorder,
        work: queue.WorkQueue,
        installation: platform.Platform,
        policy: outcomes.Policy,
        now: Callable[[], datetime],
    ) -> None:
        self.cache = cache.Cache(self._changed)
        self._cluster = cluster
        self._store = store
        self._recorder = recorder
        self._queue = work
        self._installation = installation
        self._policy = policy
        self._now = now
        self._by_uid: dict[str, kinds.Key] = {}
        self._generations: dict[kinds.Key, tuple[str, int]] = {}
        """UID and generation of each resource: an edit changes them, a status write does not."""
        self._referrers: dict[kinds.Key, set[kinds.Key]] = defaultdict(set)
        self._references: dict[kinds.Key, frozenset[kinds.Key]] = {}
        self._pruned: dict[str, Mapping[str, Any]] = {}
        self.reconciled = 0
        """Counts reconciles, for metrics."""

    # -- waking --------------------------------------------------------------------------------

    def _changed(self, key: kinds.Key, obj: kinds.Object) -> None:
        """Queue the resources that a change affects: itself, its owner, and what refers to it."""
        if key.kind in kinds.RESOURCES:
            uid, generation = obj["metadata"]["uid"], obj["metadata"].get("generation", 0)
            edited = self._generations.get(key) != (uid, generation)
            self._generations[key] = (uid, generation)
            self._by_uid[uid] = key
            self._index_references(key, obj)
            self._queue.add(key, reset_backoff=edited)
            for referrer in self._referrers.get(key, ()):
                self._queue.add(referrer)
            return
        uid = (obj["metadata"].get("labels") or {}).get(names.UID_LABEL, "")
        owner = self._by_uid.get(uid)
        if owner is not None:
            self._queue.add(owner, _CHILD_DELAY)

    def _index_references(self, key: kinds.Key, obj: kinds.Object) -> None:
        found = frozenset(
            kinds.Key(_KINDS[kind], key.namespace, name) for kind, name in planner.references(obj)
        )
        for gone in self._references.get(key, frozenset()) - found:
            self._referrers[gone].discard(key)
        for target in found:
            self._referrers[target].add(key)
        self._references[key] = found

    def _forget(self, key: kinds.Key) -> None:
        for target in self._references.pop(key, frozenset()):
            self._referrers[target].discard(key)
        uid, _ = self._generations.pop(key, ("", 0))
        self._by_uid.pop(uid, None)
        self._pruned.pop(uid, None)
        self._queue.forget(key)

    # -- reconciling ---------------------------------------------------------------------------

    async def __call__(self, key: kinds.Key) -> float | None:
        """Reconcile one resource; return the seconds until it wants to be looked at again."""
        raw = self.cache.get(key)
        if raw is None:
            self._forget(key)
            return None
        self.reconciled += 1
        try:
            outcome = await self._plan(raw)
            await self._apply_or_report(key, raw, outcome)
            lost = await self._report(key, raw, outcome)
        except errors.NotLeader:
            raise
        except errors.Refused as error:
            _LOG.error("%s: the API server refuses: %s", key, error)
            raise
        except errors.ClusterError as error:
            _LOG.warning("%s: %s", key, error)
            raise
        except Exception:
            _LOG.exception("%s: reconcile failed", key)
            raise
        return _SOON if lost else outcome.requeue_after

    async def _plan(self, raw: kinds.Object) -> outcomes.Outcome:
        """Plan, answer what the plan asks, and plan again."""
        answers: dict[facts.Query, facts.Answer] = {}
        observed = self._observe(raw)
        for _ in range(_ROUNDS):
            outcome = planner.plan(
                raw,
                outcomes.Observed(observed.children, observed.references, answers),
                now=self._now(),
                installation=self._installation,
                policy=self._policy,
            )
            new = [query for query in outcome.queries if query not in answers]
            if not new:
                break
            found = await asyncio.gather(*(self._store.answer(query) for query in new))
            answers.update(zip(new, found, strict=True))
        return outcome

    def _observe(self, raw: kinds.Object) -> outcomes.Observed:
        meta = raw["metadata"]
        named = {}
        for kind, name in planner.references(raw):
            other = self.cache.get(kinds.Key(_KINDS[kind], meta["namespace"], name))
            if other is not None:
                named[(kind, name)] = other
        return outcomes.Observed(tuple(self.cache.children(meta["uid"])), named)

    async def _apply_or_report(
        self, key: kinds.Key, raw: kinds.Object, outcome: outcomes.Outcome
    ) -> None:
        """Apply the outcome; report in the status what the API server rejects."""
        try:
            await self._apply(outcome)
        except errors.Refused as error:
            await self._report(key, raw, planner.refused(raw, str(error), self._now()))
            raise

    async def _apply(self, outcome: outcomes.Outcome) -> None:
        for removal in outcome.removals:
            kind = kinds.of({"apiVersion": removal.api_version, "kind": removal.kind})
            key = kinds.Key(kind, removal.namespace, removal.name)
            await self._cluster.delete(key, uid=removal.uid)
            self.cache.drop(key, uid=removal.uid)
        for obj in outcome.objects:
            await self._apply_object(obj)

    async def _apply_object(self, obj: kinds.Object) -> None:
        """Apply a child, but never adopt an object of another owner."""
        key = kinds.key_of(obj)
        if key.kind in _NAMED_BY_USERS and self.cache.get(key) is None:
            there = await self._cluster.get(key)
            uid = obj["metadata"]["ownerReferences"][0]["uid"]
            owners = there["metadata"].get("ownerReferences") or () if there else ()
            if there is not None and all(owner["uid"] != uid for owner in owners):
                text = f"{key} belongs to another owner: delete it, or rename the MensServe."
                raise errors.Refused(text)
        self.cache.put(await self._cluster.apply(obj))

    async def _report(self, key: kinds.Key, raw: kinds.Object, outcome: outcomes.Outcome) -> bool:
        """Write the status if it differs; True if somebody else was faster."""
        uid, status = raw["metadata"]["uid"], outcome.status
        if status is None or status == raw.get("status") or status == self._pruned.get(uid):
            return False
        meta = {name: raw["metadata"][name] for name in ("namespace", "name", "resourceVersion")}
        wanted = {
            "apiVersion": raw["apiVersion"],
            "kind": raw["kind"],
            "metadata": meta,
            "status": status,
        }
        try:
            stored = await self._cluster.apply_status(wanted)
        except errors.Conflict:
            await self._read_again(key, uid)
            return True
        except errors.NotFound:
            self.cache.drop(key, uid=uid)
            return False
        self.cache.put(stored)
        if stored.get("status") != status:
            # An older CRD prunes fields: writing them again and again would never end.
            self._pruned[uid] = status
        else:
            self._pruned.pop(uid, None)
        for event in outcome.events:
            _LOG.info("%s: %s: %s", key, event.reason, event.message)
            await self._recorder.record(raw, event)
        return False

    async def _read_again(self, key: kinds.Key, uid: str) -> None:
        fresh = await self._cluster.get(key)
        if fresh is None or fresh["metadata"]["uid"] != uid:
            self.cache.drop(key, uid=uid)
        if fresh is not None:
            self.cache.put(fresh)
