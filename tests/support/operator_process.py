"""The operator on a real API server: in this process with its writes counted, or as a program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from mens_operator import app
from mens_operator import settings as configuration
from mens_operator.cluster import errors, kinds, kubernetes
from tests.support import memory_store, simulation

ROOT = Path(__file__).resolve().parents[2]


class Counting(kubernetes.KubernetesCluster):
    """Counts its own writes by kind and verb; the Lease's are not interesting.

    Its Jobs are left alone by the cluster's Job controller, whom the tests play.
    """

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        self.counts: Counter[str] = Counter()
        self.fail: Callable[[str], None] = lambda _what: None

    async def _json(self, method: str, path: str, **named: Any) -> dict[str, Any]:
        in_namespace = path.partition("/namespaces/")[2].split("/")
        what = f"{method} {in_namespace[1] if len(in_namespace) > 1 else path}"
        what += "/status" if path.endswith("/status") else ""
        if method != "GET" and "leases" not in path:
            self.fail(what)
            self.counts[what] += 1
        if what == "PATCH jobs":
            body = named["body"]
            named["body"] = {**body, "spec": {**body["spec"], "managedBy": "mens.test/tests"}}
        return await super()._json(method, path, **named)


class Space:
    """A namespace of a test's own, and everybody else who writes to it."""

    def __init__(self, cluster: kubernetes.KubernetesCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def key(self, kind: kinds.Kind, name: str) -> kinds.Key:
        return kinds.Key(kind, self.namespace, name)

    async def apply(self, text: str, name: str, **changes: Any) -> Mapping[str, Any]:
        """Apply YAML as kubectl would, under another field manager."""
        obj = yaml.safe_load(text)
        obj["metadata"] = {"namespace": self.namespace, "name": name}
        obj["spec"].update(changes)
        key = kinds.key_of(obj)
        return await self.cluster._json(
            "PATCH",
            key.kind.path(key.namespace, key.name),
            query={"fieldManager": "kubectl", "force": "true"},
            body=obj,
            content_type="application/apply-patch+yaml",
        )

    async def set_status(self, key: kinds.Key, status: Mapping[str, Any]) -> None:
        """Replace a status as a controller would."""
        for _ in range(10):
            stored = await self.cluster.get(key)
            assert stored is not None, key
            with contextlib.suppress(errors.Conflict):
                path = key.kind.path(key.namespace, key.name, "status")
                await self.cluster._json("PUT", path, body={**stored, "status": dict(status)})
                return
        raise AssertionError(f"{key} never stands still")

    async def status(self, key: kinds.Key) -> dict[str, Any]:
        found = await self.cluster.get(key)
        return dict((found or {}).get("status") or {})

    async def status_and_reason(self, key: kinds.Key, type_: str) -> tuple[str, str]:
        for item in (await self.status(key)).get("conditions", ()):
            if item["type"] == type_:
                return item["status"], item["reason"]
        return "", ""

    async def jobs(self) -> list[Mapping[str, Any]]:
        page = await self.cluster.list_page(kinds.JOB, self.namespace)
        return [job for job in page.items if "deletionTimestamp" not in job["metadata"]]

    async def wait(
        self, ask: Callable[[], Awaitable[Any]], good: Callable[[Any], bool], seconds: float = 20
    ) -> Any:
        """Ask until the answer is good; the last one is shown when time is up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            found = await ask()
            if good(found):
                return found
            assert loop.time() < end, found
            await asyncio.sleep(0.05)


async def running(job: Mapping[str, Any], space: Space) -> None:
    """The Job controller says that the pod is ready."""
    stamp = job["metadata"]["creationTimestamp"]
    status = {"active": 1, "ready": 1, "startTime": stamp}
    await space.set_status(kinds.key_of(job), status)


async def complete(job: Mapping[str, Any], space: Space) -> None:
    """The Job controller says that the Job is complete, in the two steps that 1.36 asks for."""
    stamp = job["metadata"]["creationTimestamp"]
    met = {"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": stamp}
    done = {"type": "Complete", "status": "True", "lastTransitionTime": stamp}
    status = {"startTime": stamp, "completionTime": stamp, "succeeded": 1}
    await space.set_status(kinds.key_of(job), {**status, "conditions": [met, done]})


def settings(space: Space, kubeconfig: str, **changes: Any) -> configuration.Settings:
    """Settings of an operator that watches one namespace."""
    fields: dict[str, Any] = {
        "namespaces": (space.namespace,),
        "operator_namespace": space.namespace,
        "identity": f"test-{uuid.uuid4().hex[:6]}",
        "lease_name": "mens-operator",
        "health_port": free_port(),
        "kubeconfig": kubeconfig,
        "installation": simulation.INSTALLATION,
        "policy": simulation.POLICY,
        "log_level": "INFO",
    }
    return configuration.Settings(**{**fields, **changes})


@contextlib.asynccontextmanager
async def operator(
    space: Space, kubeconfig: str, store: memory_store.MemoryStore, **changes: Any
) -> AsyncIterator[tuple[app.Operator, Counting]]:
    """An operator in this process, kopf and lease included, until the block ends."""
    counting = Counting(space.cluster.configuration)
    chosen = settings(space, kubeconfig, **changes)
    made = app.Operator(chosen, counting, store)
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield made, counting
        stop.set()
        assert await asyncio.wait_for(task, 20) == 0
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)
        await counting.close()


def program(
    space: Space,
    kubeconfig: str,
    identity: str,
    log: Path,
    port: int,
    changed: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """The operator as a program; its bucket has its own name.

    Nobody answers at its store unless the `changed` environment says where one is.
    """
    sources = ("src", "operator/src")
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in sources),
        "KUBECONFIG": kubeconfig,
        "MENS_NAMESPACES": space.namespace,
        "MENS_OPERATOR_NAMESPACE": space.namespace,
        "MENS_IDENTITY": identity,
        "MENS_HEALTH_PORT": str(port),
        "MENS_IMAGE_CORPUS": "corpus:1",
        "MENS_IMAGE_TRAINER": "trainer:1",
        "MENS_IMAGE_SERVER": "server:1",
        "MENS_OUTPUT_BUCKET": f"s3://bucket-{identity}",
        "MENS_S3_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        **(changed or {}),
    }
    environ.pop("KUBERNETES_SERVICE_HOST", None)
    with log.open("ab") as writing:
        return subprocess.Popen(
            [sys.executable, "-m", "mens_operator"],
            env=environ,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=writing,
        )


async def ready(port: int) -> int:
    """Ask /readyz; 0 while nobody listens."""
    try:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
            client.get("/readyz") as answer,
        ):
            return answer.status
    except aiohttp.ClientError:
        return 0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.asynccontextmanager
async def space_on(kubeconfig: str) -> AsyncIterator[Space]:
    """A fresh namespace on a real API server."""
    cluster = await kubernetes.connect(kubeconfig)
    name = f"op-{uuid.uuid4().hex[:8]}"
    meta = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await cluster._json("POST", "/api/v1/namespaces", body=meta)
    try:
        yield Space(cluster, name)
    finally:
        await cluster._json("DELETE", f"/api/v1/namespaces/{name}")
        await cluster.close()


async def install_crds(cluster: kubernetes.KubernetesCluster) -> None:
    """Apply the CRDs of the checkout and wait until they are served."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        obj = yaml.safe_load(file.read_text())
        await cluster._json(
            "PATCH",
            f"{path}/{obj['metadata']['name']}",
            query={"fieldManager": "kubectl", "force": "true"},
            body=obj,
            content_type="application/apply-patch+yaml",
        )
    for kind in kinds.RESOURCES:
        for _ in range(200):
            try:
                await cluster.list_page(kind, None, limit=1)
                break
            except errors.ClusterError:
                await asyncio.sleep(0.1)
