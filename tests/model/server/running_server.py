"""A whole server on loopback: memory store, real uvicorn, real clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn

from mens.artifacts import manifests, publisher, refs, store, transfers
from mens.runtime import jobs, termination
from mens_server import limits, model_loader, process
from mens_server.app import service as services
from mens_server.engines import fake, interface, worker
from tests.support import memory_store

COMPLIANCE = manifests.Compliance(
    license_expression="Apache-2.0",
    license_class=manifests.LicenseClass.PERMISSIVE_WITH_ATTRIBUTION,
    attribution_required=manifests.Attribution.YES,
)
MODELS = refs.Uri("models")
QUICK = limits.Limits(retry_seconds=(0.05, 0.1))
UPSTREAM = manifests.Upstream(family="tiny", model_id="mens/tiny", revision="1")


@dataclass
class Bucket:
    """A store with artifacts in it."""

    store: store.ObjectStore = field(default_factory=lambda: memory_store.MemoryStore(["models"]))
    root: refs.Uri = MODELS

    def model(self, name: str, folder: Path) -> refs.ArtifactRef:
        """Publish a base."""
        return self._publish(name, folder, manifests.Kind.MODEL, ())

    def adapter(self, name: str, folder: Path, base: refs.ArtifactRef) -> refs.ArtifactRef:
        """Publish an adapter of a base."""
        parent = manifests.Input(
            role=manifests.Role.BASE,
            name="base",
            uri=str(base.uri),
            digest=base.digest,
            license_expression="Apache-2.0",
        )
        return self._publish(name, folder, manifests.Kind.ADAPTER, (parent,))

    def fetch(
        self, ref: refs.ArtifactRef, into: Path, progress: transfers.Progress
    ) -> manifests.Manifest:
        """What the loader calls."""
        return process.artifact_downloader(self.store)(ref, into, progress)

    def _publish(
        self,
        name: str,
        folder: Path,
        kind: manifests.Kind,
        inputs: tuple[manifests.Input, ...],
    ) -> refs.ArtifactRef:
        draft = manifests.Manifest(
            kind=kind,
            name=name,
            inputs=inputs,
            upstream=UPSTREAM,
            compliance=COMPLIANCE,
            producer=manifests.Producer(image="local"),
        )
        return publisher.publish(self.store, self.root / name, folder, draft)


def job(base: refs.ArtifactRef, **adapters: refs.ArtifactRef) -> jobs.ServeJob:
    """A job with these adapters, all of them required."""
    return jobs.ServeJob(
        resource=jobs.Resource(namespace="n", name="s", uid="u", generation=1),
        base=base,
        base_name="base",
        adapters=tuple(jobs.ServedAdapter(name=key, artifact=ref) for key, ref in adapters.items()),
        threads=1,
        max_batch_size=4,
        max_queue_length=4,
        max_tokens=200,
    )


def fake_engine(runner: fake.FakeRunner, max_queue: int = 4) -> model_loader.BuildEngine:
    """Builds the fake engine, whatever the folder."""
    return lambda _: worker.WorkerEngine(runner, max_queue=max_queue)


@dataclass
class RunningServer:
    """A running server."""

    url: str
    service: services.Service
    ends: list[termination.Outcome]
    """How the process would have ended; empty while it would go on."""

    def client(self) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.url, timeout=30)


@contextlib.contextmanager
def stand(
    work: jobs.ServeJob,
    bucket: Bucket,
    scratch: Path,
    build: Callable[[Path], interface.Engine],
    bounds: limits.Limits = QUICK,
) -> Iterator[RunningServer]:
    """Run a server in a thread."""
    service = services.Service(bounds, work.base_name)
    loader = model_loader.Loader(work, service, fetch=bucket.fetch, build=build, scratch=scratch)
    ends: list[termination.Outcome] = []
    loading_thread = loader.start(ends.append)
    with listening(service) as url:
        try:
            yield RunningServer(url, service, ends)
        finally:
            loader.stop()
            loading_thread.join(timeout=30)
            if service.engine is not None:
                service.engine.close()


@contextlib.contextmanager
def listening(service: services.Service) -> Iterator[str]:
    """Serve HTTP on a free port of loopback."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)  # A client that is faster than uvicorn waits instead of being refused.
    server = uvicorn.Server(process.web(service, "127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([sock])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        sock.close()


def wait_for(client: httpx.Client, check: Callable[[dict[str, object]], bool]) -> dict[str, object]:
    """Ask /ready until the check holds."""
    import time  # noqa: PLC0415

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        report: dict[str, object] = client.get("/ready").json()
        if check(report):
            return report
        time.sleep(0.02)
    raise AssertionError(f"not within a minute: {report}")
