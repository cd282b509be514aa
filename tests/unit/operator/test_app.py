"""The whole process on a cluster in memory, without kopf: what it leaves out, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
import yaml

from mens_operator import app, informers
from mens_operator import settings as configuration
from mens_operator.cluster import cache, errors, in_memory, kinds, port
from tests.support import operator_process, simulation
from tests.support.cluster_objects import ManualClock

SETTINGS = configuration.Settings(
    namespaces=("default", "other"),
    operator_namespace="mens-system",
    identity="one",
    lease_name="mens-operator",
    health_port=0,
    kubeconfig=None,
    installation=simulation.INSTALLATION,
    policy=simulation.POLICY,
    log_level="INFO",
)
OTHER = simulation.CORPUS.replace("namespace: default", "namespace: other")


class Guarded(in_memory.InMemoryApiServer):
    """Refuses what is `forbidden`: namespaces to read, and the lease."""

    def __init__(self, *forbidden: str) -> None:
        super().__init__()
        self.forbidden = set(forbidden)

    async def raw(self, _: str) -> Mapping[str, Any]:
        raise errors.NotFound("404")  # So kopf is never started; our own lists do.

    async def list_page(self, kind: kinds.Kind, namespace: str | None, **named: Any) -> port.Page:
        self._guard(namespace or "")
        return await super().list_page(kind, namespace, **named)

    async def get(self, key: kinds.Key) -> kinds.Object | None:
        self._guard(key.kind.plural)
        return await super().get(key)

    def _guard(self, what: str) -> None:
        if what in self.forbidden:
            raise errors.Refused(f"403: {what} is forbidden")


@contextlib.asynccontextmanager
async def running(cluster: Guarded, world: simulation.Simulation) -> AsyncIterator[app.Operator]:
    settings = dataclasses.replace(SETTINGS, health_port=operator_process.free_port())
    made = app.Operator(settings, cast("Any", cluster), world.store)
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    yield made
    stop.set()
    assert await asyncio.wait_for(task, 10) == 0


async def jobs_in(cluster: Guarded, *namespaces: str) -> None:
    """Wait until just these namespaces have a Job."""
    async with asyncio.timeout(10):
        while found(cluster) != set(namespaces):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def found(cluster: Guarded) -> set[str]:
    return {job["metadata"]["namespace"] for job in cluster.objects(kinds.JOB)}


async def test_a_namespace_that_cannot_be_read_stops_no_other(
    sim: simulation.Simulation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out with a warning and a metric, and worked in as soon as it can be read."""
    monkeypatch.setattr(informers, "_REFUSED", 0.05)
    monkeypatch.setattr(app, "_UNREAD", 0.05)
    cluster = Guarded("other")
    cluster.put(yaml.safe_load(simulation.CORPUS))
    cluster.put(yaml.safe_load(OTHER))
    metric = 'mens_operator_namespace_refused{namespace="other"}'
    async with running(cluster, sim) as operator:
        await jobs_in(cluster, "default")
        assert operator.numbers()[metric] == 1
        assert not operator.problems()
        assert all("CRD" in missing for missing in operator.unready())
        warned = [record.message for record in caplog.records if "left out" in record.message]
        assert len(warned) == 7, "once for each kind"
        assert "namespace other" in warned[0]
        cluster.forbidden.clear()
        await jobs_in(cluster, "default", "other")
        assert operator.numbers()[metric] == 0


async def test_a_namespace_whose_children_cannot_be_read_is_not_worked_in(
    sim: simulation.Simulation,
) -> None:
    """Without the list of Jobs a plan would not know what runs."""
    cluster = Guarded("other")
    readable = cluster.list_page

    async def list_page(kind: kinds.Kind, namespace: str | None, **named: Any) -> port.Page:
        if kind in kinds.RESOURCES:
            return await in_memory.InMemoryApiServer.list_page(cluster, kind, namespace, **named)
        return await readable(kind, namespace, **named)

    cluster.list_page = list_page  # type: ignore[method-assign]
    cluster.put(yaml.safe_load(simulation.CORPUS))
    cluster.put(yaml.safe_load(OTHER))
    async with running(cluster, sim):
        await jobs_in(cluster, "default")
        await asyncio.sleep(0.2)
        assert found(cluster) == {"default"}
        assert not [write for write in cluster.writes if write.key.namespace == "other"]


async def test_when_nothing_can_be_read_it_is_not_ready(sim: simulation.Simulation) -> None:
    """Ready means: it would work if it led."""
    cluster = Guarded("default", "other")
    async with running(cluster, sim) as operator:
        await asyncio.sleep(0.2)
        assert "default cannot be read: 403: default is forbidden" in operator.unready()


async def test_without_rights_on_the_lease_it_is_not_ready(sim: simulation.Simulation) -> None:
    """It can never lead, and says what is refused."""
    cluster = Guarded("leases")
    async with running(cluster, sim) as operator:
        await asyncio.sleep(0.2)
        assert "the lease is refused: 403: leases is forbidden" in operator.unready()
        assert not operator.problems(), "a new process would have no more rights"


async def test_silence_is_a_problem_only_while_the_api_server_answers() -> None:
    """A zombie is found; an outage, which no restart ends, kills nobody."""
    time = ManualClock()
    known = cache.Cache(lambda _key, _obj: None)
    heard = informers.Informers(in_memory.InMemoryApiServer(), known, (), clock=time)
    time.now = 400.0
    assert not heard.problems(reachable=0.0)
    assert not heard.problems(reachable=100.0), "it was away: its watches may still come back"
    assert "the watch of jobs delivered nothing for 400 s" in heard.problems(reachable=1000.0)
