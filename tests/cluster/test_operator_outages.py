"""What may be killed is killed: the operator at random moments, the API server under it.

The operator is the real program against a real store, restarted as a kubelet would; only the Job
controller is played by the test, so its own control plane runs without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster import clusters, lifecycle, sandbox
from mens.artifacts import manifests, refs, s3
from mens_operator.cluster import errors, kinds
from tests.support import operator_process, simulation
from tests.support.s3 import S3Server

pytestmark = pytest.mark.cluster

DETAILS = {"fingerprint": "sha256:1", "rows": {"train": 9, "validation": 1}}
KILLS = 6
RESTART = 0.5
"""Seconds between an end and the next start; a kubelet takes 10 s and doubles it."""


@pytest.fixture(scope="module")
def plane(control_plane: clusters.Cluster) -> Iterator[clusters.Cluster]:
    """A control plane of this module's own, since its API server is killed."""
    if control_plane.kind is not clusters.Kind.EMBEDDED:
        pytest.skip("only a cluster of our own may lose its API server")
    name = f"test-{os.getpid()}-outage"
    without_jobs = {"kube-controller-manager": ["--controllers=*,-job-controller"]}
    try:
        yield lifecycle.up(name, node=False, extra=without_jobs)
    finally:
        lifecycle.down(name)


@pytest.fixture
async def space(plane: clusters.Cluster) -> AsyncIterator[operator_process.Space]:
    async with operator_process.space_on(str(plane.kubeconfig)) as made:
        await operator_process.install_crds(made.cluster)
        yield made


class Kubelet:
    """Keeps the operator's program running."""

    def __init__(
        self, space: operator_process.Space, kubeconfig: Path, log: Path, env: dict[str, str]
    ):
        self._arguments = (
            space,
            str(kubeconfig),
            "operator",
            log,
            operator_process.free_port(),
            env,
        )
        self._process = operator_process.program(*self._arguments)
        self.ends: list[int] = []

    async def run(self) -> None:
        while True:
            self.ends.append(await asyncio.to_thread(self._process.wait))
            await asyncio.sleep(RESTART)
            self._process = operator_process.program(*self._arguments)

    def kill(self) -> None:
        self._process.kill()

    async def end(self, running: asyncio.Task[None]) -> None:
        running.cancel()
        self._process.kill()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.to_thread(self._process.wait)


class JobController:
    """Completes every Job a while after it came, and remembers all it ever saw."""

    def __init__(self, space: operator_process.Space, store: s3.S3Store) -> None:
        self._space = space
        self._world = simulation.Simulation()
        self._world.store = store  # type: ignore[assignment]  # publishes into the real one
        self.seen: dict[str, str] = {}
        """Owner's name by the Job's UID."""
        self.hold = False
        """Leaves Jobs running."""

    async def run(self) -> None:
        while True:
            with contextlib.suppress(errors.ClusterError, AssertionError):
                for job in await self._space.jobs():
                    await self._advance(job)
            await asyncio.sleep(0.2)

    async def _advance(self, job: Any) -> None:
        uid = job["metadata"]["uid"]
        if uid not in self.seen:
            self.seen[uid] = job["metadata"]["ownerReferences"][0]["name"]
            await operator_process.running(job, self._space)
        elif not self.hold and "completionTime" not in job.get("status", {}):
            env = job["spec"]["template"]["spec"]["containers"][0]["env"]
            work = next(item["value"] for item in env if item["name"] == "MENS_JOB")
            output = json.loads(work)["output"]
            await asyncio.to_thread(
                self._world.publish, output, manifests.Kind.CORPUS, details=DETAILS
            )
            await operator_process.complete(job, self._space)


@pytest.fixture
async def controller(
    space: operator_process.Space, s3_store: s3.S3Store
) -> AsyncIterator[JobController]:
    made = JobController(space, s3_store)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def kubelet(
    plane: clusters.Cluster,
    space: operator_process.Space,
    s3_server: S3Server,
    bucket: refs.Uri,
    tmp_path: Path,
) -> AsyncIterator[Kubelet]:
    env = {**s3_server.environ(), "MENS_OUTPUT_BUCKET": str(bucket)}
    made = Kubelet(space, plane.kubeconfig, tmp_path / "operator.log", env)
    running = asyncio.create_task(made.run())
    yield made
    await made.end(running)


async def succeeded(space: operator_process.Space, names: list[str], seconds: float = 60) -> None:
    for name in names:
        await space.wait(
            functools.partial(space.status_and_reason, space.key(kinds.CORPUS, name), "Succeeded"),
            lambda state: state == ("True", "Succeeded"),
            seconds,
        )


async def test_killed_at_random_moments_it_loses_and_doubles_nothing(
    space: operator_process.Space, kubelet: Kubelet, controller: JobController
) -> None:
    """SIGKILL again and again while runs come in: each has one Job and its success in the end."""
    moments = random.Random(20261123)
    names = [f"run-{number}" for number in range(KILLS)]
    for name in names:
        await space.apply(simulation.CORPUS, name)
        # A start takes about 2 s until the first write: before, amid and after it.
        await asyncio.sleep(moments.uniform(1.0, 4.0))
        kubelet.kill()
    await succeeded(space, names)
    assert sorted(controller.seen.values()) == names
    assert kubelet.ends[:KILLS] == [-signal.SIGKILL] * KILLS


@pytest.mark.parametrize(
    ("how", "seconds", "ends"), [("killed", 8, [1]), ("frozen", 8, [1]), ("frozen", 2, [])]
)
async def test_an_outage_of_the_api_server_is_survived(
    plane: clusters.Cluster,
    space: operator_process.Space,
    kubelet: Kubelet,
    controller: JobController,
    how: str,
    seconds: float,
    ends: list[int],
) -> None:
    """Running work completes and later events arrive; only after the fence it restarts."""
    controller.hold = True
    await space.apply(simulation.CORPUS, "before")
    await space.wait(
        lambda: space.status_and_reason(space.key(kinds.CORPUS, "before"), "Running"),
        lambda state: state[0] == "True",
    )
    with away(plane, how):
        await asyncio.sleep(seconds)
    back = time.monotonic()
    controller.hold = False
    await space.wait(lambda: accepted(space, "after"), bool, 60)
    await succeeded(space, ["before", "after"], 40)
    print(f"{how} for {seconds} s: settled {time.monotonic() - back:.1f} s later")  # noqa: T201
    assert kubelet.ends == ends
    assert sorted(controller.seen.values()) == ["after", "before"]


async def accepted(space: operator_process.Space, name: str) -> bool:
    """Apply as a user who tries again while the API server is not all there yet."""
    try:
        await space.apply(simulation.CORPUS, name)
    except errors.ClusterError:
        return False
    return True


@contextlib.contextmanager
def away(plane: clusters.Cluster, how: str) -> Iterator[None]:
    """Without an API server: its process is killed and restarted, or stopped and continued."""
    assert plane.sandbox is not None
    assert plane.parent is not None
    box = sandbox.Sandbox(plane.run, plane.parent, plane.sandbox)
    process = next(
        child
        for child in plane.sandbox.children()
        if Path(f"/proc/{child.pid}/comm").read_text().strip() == "kube-apiserver"
    )
    if how == "frozen":
        os.kill(process.pid, signal.SIGSTOP)
        yield
        os.kill(process.pid, signal.SIGCONT)
        return
    command = Path(f"/proc/{process.pid}/cmdline").read_text().rstrip("\0").split("\0")
    process.kill()
    yield
    box.start("kube-apiserver", command)
