"""The real client's own promises, before a server that only listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from mens_operator.cluster import cache, kinds, kubernetes, reflector
from tests.support.cluster_objects import LEASE

NAMESPACES = 40


@pytest.fixture
async def cluster() -> AsyncIterator[kubernetes.KubernetesCluster]:
    """A client of a server whose lists are empty and whose watches stay open and say nothing."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.query.get("watch"):
            return web.json_response({"items": [], "metadata": {"resourceVersion": "5"}})
        stream = web.StreamResponse()
        await stream.prepare(request)
        await asyncio.sleep(30)
        return stream

    served = web.Application()
    served.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(served, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    made = kubernetes.KubernetesCluster(configuration)
    yield made
    await made.close()
    await runner.cleanup()


async def test_the_lease_never_waits_for_watches(cluster: kubernetes.KubernetesCluster) -> None:
    """However many namespaces are watched, there is a connection for each call."""
    known = cache.Cache(lambda _key, _obj: None)
    clock = asyncio.get_running_loop().time
    scopes = [
        reflector.Scope(kind, f"team-{number}")
        for kind in kinds.CHILDREN
        for number in range(NAMESPACES)
    ]
    reflectors = [reflector.Reflector(cluster, scope, known, clock=clock) for scope in scopes]
    tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors]
    try:
        async with asyncio.timeout(10):
            while not known.is_complete((scope.kind, scope.namespace) for scope in scopes):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        meta = {"namespace": LEASE.namespace, "name": LEASE.name}
        record = {"apiVersion": LEASE.kind.api_version, "kind": "Lease", "metadata": meta}
        await asyncio.wait_for(cluster.create(record), 2)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
