"""The whole operator on a real API server: kopf, lease, watches and writes.

No node is needed: the tests play the Job controller, as the fake's simulation does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from mens.artifacts import manifests
from mens_operator.cluster import errors, kinds, kubernetes
from tests.support import helm, memory_store, operator_process, simulation

pytestmark = pytest.mark.cluster

DETAILS = {"fingerprint": "sha256:1", "rows": {"train": 9, "validation": 1}}


@pytest.fixture
async def space(control_plane: Any) -> AsyncIterator[operator_process.Space]:
    async with operator_process.space_on(str(control_plane.kubeconfig)) as made:
        await operator_process.install_crds(made.cluster)
        yield made


@pytest.fixture
def kubeconfig(control_plane: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))  # kopf reads it there
    return str(control_plane.kubeconfig)


@pytest.fixture
def world() -> simulation.Simulation:
    """Only its store is used, and its way to publish."""
    return simulation.Simulation()


async def build(space: operator_process.Space, world: simulation.Simulation, name: str) -> None:
    """Play the Job controller for one corpus, from its Job to its end."""
    key = space.key(kinds.CORPUS, name)

    async def job() -> Any:
        mine = [
            job
            for job in await space.jobs()
            if job["metadata"]["ownerReferences"][0]["name"] == name
        ]
        return mine[-1] if mine else None

    made = await space.wait(job, bool)
    await operator_process.running(made, space)
    await space.wait(
        lambda: space.status_and_reason(key, "Running"), lambda state: state[0] == "True"
    )
    env = made["spec"]["template"]["spec"]["containers"][0]["env"]
    work = next(item["value"] for item in env if item["name"] == "MENS_JOB")
    output = json.loads(work)["output"]
    world.publish(output, manifests.Kind.CORPUS, details=DETAILS)
    await operator_process.complete(made, space)
    await space.wait(
        lambda: space.status_and_reason(key, "Succeeded"),
        lambda state: state == ("True", "Succeeded"),
    )


async def test_a_smooth_run_costs_three_writes_and_a_restart_none(
    space: operator_process.Space, kubeconfig: str, world: simulation.Simulation
) -> None:
    """One Job and two statuses on a real API server; a new process has nothing to write."""
    async with operator_process.operator(space, kubeconfig, world.store) as (_, counting):
        await space.apply(simulation.CORPUS, "docs")
        await build(space, world, "docs")
        events = counting.counts.pop("POST events")
        assert counting.counts == {"PATCH jobs": 1, "PATCH menscorpora/status": 2}
        assert events <= 2
    before = await space.cluster.get(space.key(kinds.CORPUS, "docs"))
    async with operator_process.operator(space, kubeconfig, world.store) as (made, counting):
        await asyncio.wait_for(made.elector.led.wait(), 5)
        await asyncio.sleep(2)
        assert not counting.counts
    after = await space.cluster.get(space.key(kinds.CORPUS, "docs"))
    assert before == after
    assert before is not None
    assert "annotations" not in before["metadata"], "kopf leaves no annotation"
    assert "finalizers" not in before["metadata"]


async def test_what_vanished_while_nobody_looked_is_gone(
    space: operator_process.Space, kubeconfig: str, world: simulation.Simulation
) -> None:
    """Deleted in a gap: no ghost in the cache; changed in a gap: planned for as it is now."""
    async with operator_process.operator(space, kubeconfig, world.store):
        for name in ("one", "two", "three"):
            await space.apply(simulation.CORPUS, name)
        await space.wait(space.jobs, lambda jobs: len(jobs) == 3)
    for name in ("one", "two"):
        await space.cluster.delete(space.key(kinds.CORPUS, name))
    await space.apply(simulation.CORPUS, "three", suspend=True)
    async with operator_process.operator(space, kubeconfig, world.store) as (made, _):
        three = space.key(kinds.CORPUS, "three")
        await space.wait(
            lambda: space.status_and_reason(three, "Succeeded"),
            lambda state: state[1] == "Suspended",
        )
        cached = made.reconciler.cache.of_kind(kinds.CORPUS)
        assert [obj["metadata"]["name"] for obj in cached] == ["three"]


async def test_deletions_are_heard_through_kopf(
    space: operator_process.Space, kubeconfig: str, world: simulation.Simulation
) -> None:
    """A running operator forgets what is deleted, and does not plan for it any more."""
    async with operator_process.operator(space, kubeconfig, world.store) as (made, _):
        await space.apply(simulation.CORPUS, "docs")
        await space.wait(space.jobs, bool)
        await space.cluster.delete(space.key(kinds.CORPUS, "docs"))

        async def cached() -> list[Any]:
            return made.reconciler.cache.of_kind(kinds.CORPUS)

        await space.wait(cached, lambda found: not found)


async def test_lost_writes_are_made_good(
    space: operator_process.Space, kubeconfig: str, world: simulation.Simulation
) -> None:
    """Every second write fails at first; each is idempotent, so the end is the same."""
    async with operator_process.operator(space, kubeconfig, world.store) as (_, counting):
        count = [0]

        def flaky(what: str) -> None:
            count[0] += 1
            if count[0] % 2 and "events" not in what:
                raise errors.Unavailable("timed out")

        counting.fail = flaky
        await space.apply(simulation.CORPUS, "docs")
        await build(space, world, "docs")
        assert len(await space.jobs()) == 1


async def test_health_and_metrics_answer(
    space: operator_process.Space, kubeconfig: str, world: simulation.Simulation
) -> None:
    """Alive, ready after the first lists, and a few numbers."""
    port = operator_process.free_port()
    async with (
        operator_process.operator(space, kubeconfig, world.store, health_port=port),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        await space.wait(lambda: operator_process.ready(port), lambda status: status == 200)
        async with client.get("/healthz") as answer:
            assert answer.status == 200
        async with client.get("/metrics") as answer:
            assert "mens_operator_leader 1" in await answer.text()


async def test_a_stopped_leader_writes_nothing_beside_its_successor(
    space: operator_process.Space, kubeconfig: str, tmp_path: Path
) -> None:
    """SIGSTOP the leader: another writes within 12 s; continued, the old one exits, silent."""
    one_port, two_port = operator_process.free_port(), operator_process.free_port()
    one = operator_process.program(space, kubeconfig, "one", tmp_path / "one.log", one_port)
    two = None
    seen: list[str] = []
    watching = None
    try:
        first = space.key(kinds.CORPUS, "first")
        await space.apply(simulation.CORPUS, "first")
        await space.wait(lambda: space.status(first), bool, 30)
        two = operator_process.program(space, kubeconfig, "two", tmp_path / "two.log", two_port)
        await space.wait(lambda: operator_process.ready(two_port), lambda status: status == 200, 30)
        await asyncio.sleep(2)  # it has seen the record change
        os.kill(one.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        second = space.key(kinds.CORPUS, "second")
        await space.apply(simulation.CORPUS, "second")
        either = lambda: _both(space, first, second)  # noqa: E731
        await space.wait(either, lambda text: "bucket-two" in text, 20)
        took = time.monotonic() - stopped
        await space.wait(lambda: space.status(second), bool, 20)
        page = await space.cluster.list_page(kinds.CORPUS, space.namespace)

        async def watch() -> None:
            async for change in space.cluster.watch(
                kinds.CORPUS, space.namespace, resource_version=page.resource_version, seconds=60
            ):
                seen.append(str(change.object.get("status")))

        watching = asyncio.create_task(watch())
        await space.apply(simulation.CORPUS, "third")
        os.kill(one.pid, signal.SIGCONT)
        assert await asyncio.to_thread(one.wait, 10) == 1
        await asyncio.sleep(1)
        assert not [text for text in seen if "bucket-one" in text]
        assert took < 12, took
        print(f"take-over after SIGSTOP: {took:.1f} s to the first write")  # noqa: T201
        os.kill(two.pid, signal.SIGTERM)
        assert await asyncio.to_thread(two.wait, 10) == 0
        lease = await space.cluster.get(space.key(kinds.LEASE, "mens-operator"))
        assert lease is not None
        assert not lease["spec"].get("holderIdentity"), "released on a clean exit"
    finally:
        if watching:
            watching.cancel()
        for process in (one, two):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


async def _both(space: operator_process.Space, *keys: kinds.Key) -> str:
    return " ".join([str(await space.status(key)) for key in keys])


async def test_it_waits_for_crds_and_then_works(
    space: operator_process.Space, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its CRDs the operator is alive and not ready; it continues once they exist."""
    real = type(space.cluster).raw
    hidden = [True]

    async def raw(self: Any, path: str) -> Any:
        if hidden and "mens.vox-lang.org" in path:
            raise errors.NotFound("404")
        return await real(self, path)

    monkeypatch.setattr(type(space.cluster), "raw", raw)
    store = memory_store.MemoryStore(["mens"])
    async with operator_process.operator(space, kubeconfig, store) as (made, _):
        await asyncio.sleep(1)
        assert made.unready()
        assert not made.problems()
        hidden.clear()
        await space.apply(simulation.CORPUS, "docs")
        await space.wait(space.jobs, bool)
        assert not made.unready()


async def test_pods_pass_the_restricted_policy(
    space: operator_process.Space, kubeconfig: str, world: simulation.Simulation
) -> None:
    """The strictest pod security standard, enforced by the API server, admits all three pods."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"name": space.namespace, "labels": labels}
    await space.cluster._json(
        "PATCH",
        f"/api/v1/namespaces/{space.namespace}",
        query={"fieldManager": "kubectl", "force": "true"},
        body={"apiVersion": "v1", "kind": "Namespace", "metadata": meta},
        content_type="application/apply-patch+yaml",
    )
    base = world.add_model()
    corpus = "s3://mens/corpora/x/1"
    digest = world.publish(corpus, manifests.Kind.CORPUS, details=DETAILS)
    async with operator_process.operator(space, kubeconfig, world.store):
        await space.apply(simulation.CORPUS, "docs")
        await build(space, world, "docs")
        await space.apply(simulation.TRAINRUN, "tune")
        await space.apply(simulation.SERVE, "chat", adapters=[])
        await space.wait(space.jobs, lambda jobs: len(jobs) == 2)
        chat = space.key(kinds.DEPLOYMENT, "chat")
        await space.wait(lambda: space.cluster.get(chat), bool)
    made = [*(await space.jobs()), await space.cluster.get(chat)]
    for number, obj in enumerate(made):
        template = (obj or {})["spec"]["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": space.namespace, "name": f"pod-{number}"},
            "spec": {**template["spec"]},
        }
        await space.cluster.create(pod)
    assert base != digest


async def restricted(space: operator_process.Space, kubeconfig: str, folder: Path) -> str:
    """Make the chart's account with the chart's roles; return a kubeconfig of its own."""
    words = ("-n", space.namespace, "--set", f"watchNamespaces={{{space.namespace}}}")
    account = "mens-operator"
    where = f"/namespaces/{space.namespace}"
    paths = {
        "ServiceAccount": f"/api/v1{where}/serviceaccounts",
        "Role": f"/apis/rbac.authorization.k8s.io/v1{where}/roles",
        "RoleBinding": f"/apis/rbac.authorization.k8s.io/v1{where}/rolebindings",
    }
    for obj in helm.template(*words):
        if obj["kind"] in paths:
            assert obj["metadata"]["namespace"] == space.namespace
            await space.cluster._json("POST", paths[obj["kind"]], body=obj)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"{paths['ServiceAccount']}/{account}/token"
    given = await space.cluster._json("POST", path, body=asked)
    said = yaml.safe_load(Path(kubeconfig).read_text())  # noqa: ASYNC240
    said["users"] = [
        {"name": user["name"], "user": {"token": given["status"]["token"]}}
        for user in said["users"]
    ]
    own = folder / "kubeconfig"
    own.write_text(yaml.safe_dump(said))
    return str(own)


def owners(jobs: list[Any]) -> set[str]:
    return {job["metadata"]["ownerReferences"][0]["name"] for job in jobs}


async def test_least_privilege_suffices(
    space: operator_process.Space,
    kubeconfig: str,
    world: simulation.Simulation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the chart's Role in its namespace and nothing else it does its whole work; kopf too."""
    own = await restricted(space, kubeconfig, tmp_path)
    monkeypatch.setenv("KUBECONFIG", own)
    world.add_model()
    cluster = await kubernetes.connect(own)
    try:
        limited = operator_process.Space(cluster, space.namespace)
        async with operator_process.operator(limited, own, world.store):
            await space.apply(simulation.CORPUS, "docs", ttlSecondsAfterFinished=3)
            await build(space, world, "docs")
            await space.apply(simulation.SERVE, "chat", adapters=[])
            chat = space.key(kinds.DEPLOYMENT, "chat")
            await space.wait(lambda: space.cluster.get(chat), bool)
            docs = space.key(kinds.CORPUS, "docs")
            await space.wait(lambda: space.cluster.get(docs), lambda found: found is None)
            await space.apply(simulation.CORPUS, "stopped")
            await space.wait(space.jobs, lambda jobs: "stopped" in owners(jobs))
            await space.apply(simulation.CORPUS, "stopped", suspend=True)
            await space.wait(space.jobs, lambda jobs: "stopped" not in owners(jobs))
    finally:
        await cluster.close()
    assert "forbidden" not in caplog.text


async def test_a_namespace_without_rights_stops_no_other(
    space: operator_process.Space,
    kubeconfig: str,
    world: simulation.Simulation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Told to watch one where it has no Role, it works in the other; kopf hears of that one too."""
    own = await restricted(space, kubeconfig, tmp_path)
    monkeypatch.setenv("KUBECONFIG", own)
    cluster = await kubernetes.connect(own)
    try:
        limited = operator_process.Space(cluster, space.namespace)
        both = ("default", space.namespace)
        async with operator_process.operator(limited, own, world.store, namespaces=both) as (
            made,
            _,
        ):
            await space.apply(simulation.CORPUS, "docs")
            await build(space, world, "docs")
            assert made.numbers()['mens_operator_namespace_refused{namespace="default"}'] == 1
            assert not made.problems()
            await space.cluster.delete(space.key(kinds.CORPUS, "docs"))

            async def cached() -> list[Any]:
                return made.reconciler.cache.of_kind(kinds.CORPUS)

            await space.wait(cached, lambda found: not found, 30)
    finally:
        await cluster.close()
