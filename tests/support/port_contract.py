"""What every implementation of `mens_operator.cluster.port` must do; one suite for fake and real.

A test module that imports `*` from here and gives a fixture `world` runs them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from mens.api import kube, spec
from mens.artifacts import digests, refs
from mens.runtime import jobs
from mens_operator.cluster import cache, errors, kinds, lease, port, reflector
from mens_operator.manifests import names, platform, serving
from mens_operator.plans import field_ownership

__all__ = [
    "World",
    "job",
    "test_a_follower_lists_again_after_410",
    "test_a_lease_is_taken_kept_and_released",
    "test_a_relabeled_child_is_followed_again",
    "test_a_stale_status_is_a_conflict",
    "test_a_status_of_nothing_is_not_found",
    "test_apply_and_status_do_not_touch_each_other",
    "test_apply_is_idempotent",
    "test_apply_leaves_foreign_fields_and_takes_back_its_own",
    "test_create_twice_is_a_conflict",
    "test_delete_minds_the_uid",
    "test_delete_waits_for_finalizers",
    "test_generation_counts_specs_only",
    "test_pages_are_one_snapshot",
    "test_pages_hold_everything_once",
    "test_replace_minds_the_version",
    "test_template_of_a_job_is_immutable",
    "test_the_status_apply_accepts_a_wrong_uid_but_not_a_wrong_version",
    "test_watch_says_deleted_of_what_no_longer_fits",
    "test_watch_yields_each_change_in_order",
    "test_what_others_take_of_an_endpoint_is_told",
]


@dataclass
class World:
    """A cluster to test, and the other side of it."""

    cluster: port.Cluster
    namespace: str
    set_status: Callable[[kinds.Key, Mapping[str, Any]], Any]
    """Replaces a status as a controller would; may return an awaitable."""
    expire: Callable[[], Any]
    """Makes every version handed out so far too old for a watch, as far as it can be done."""

    async def status(self, key: kinds.Key, status: Mapping[str, Any]) -> None:
        done = self.set_status(key, status)
        if asyncio.iscoroutine(done):
            await done

    def key(self, name: str, kind: kinds.Kind = kinds.JOB) -> kinds.Key:
        return kinds.Key(kind, self.namespace, name)


def job(world: World, name: str, **changes: Any) -> dict[str, Any]:
    """A Job that never runs: suspended, and the cluster's own Job controller leaves it alone."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": world.namespace,
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "mens-operator", names.UID_LABEL: "u1"},
        },
        "spec": {
            "suspend": True,
            "managedBy": "mens.test/nobody",
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "main", "image": "mens:1"}],
                }
            },
            **changes,
        },
    }


async def test_apply_is_idempotent(world: World) -> None:
    """The same apply twice stores once."""
    first = await world.cluster.apply(job(world, "twice"))
    second = await world.cluster.apply(job(world, "twice"))
    assert kinds.version_of(first) == kinds.version_of(second)
    assert first["metadata"]["uid"] == second["metadata"]["uid"]


async def test_apply_and_status_do_not_touch_each_other(world: World) -> None:
    """Each subresource leaves the other alone."""
    await world.cluster.apply(job(world, "apart"))
    key = world.key("apart")
    await world.status(key, {"conditions": [_condition("Suspended")]})
    again = await world.cluster.apply(job(world, "apart", backoffLimit=0))
    assert again["status"]["conditions"][0]["type"] == "Suspended"
    assert again["spec"]["suspend"] is True


async def test_generation_counts_specs_only(world: World) -> None:
    """A change of the spec counts, a change of the status does not."""
    await world.cluster.apply(job(world, "count"))
    await world.status(world.key("count"), {"conditions": [_condition("Suspended")]})
    seen = await world.cluster.get(world.key("count"))
    assert seen is not None
    assert seen["metadata"]["generation"] == 1
    changed = await world.cluster.apply(job(world, "count", activeDeadlineSeconds=99))
    assert changed["metadata"]["generation"] == 2


async def test_apply_leaves_foreign_fields_and_takes_back_its_own(world: World) -> None:
    """What we stop applying goes, what others own stays."""
    wanted = job(world, "fields", activeDeadlineSeconds=99)
    first = await world.cluster.apply(wanted)
    foreign = {**first, "metadata": {**first["metadata"], "annotations": {"who": "somebody"}}}
    await world.cluster.replace({k: v for k, v in foreign.items() if k != "status"})
    last = await world.cluster.apply(job(world, "fields"))
    assert "activeDeadlineSeconds" not in last["spec"]
    assert last["metadata"]["annotations"]["who"] == "somebody"


async def test_what_others_take_of_an_endpoint_is_told(world: World) -> None:
    """All that we set is ours at first, also after scaling; a change by others takes it away."""
    meta = kube.ObjectMeta(name="chat", namespace=world.namespace, uid="u1")
    work = jobs.ServeJob(
        resource=jobs.Resource(namespace=world.namespace, name="chat", uid="u1", generation=0),
        base=refs.ArtifactRef(
            uri=refs.Uri.parse("s3://mens/m"), digest=digests.Digest.of_bytes(b"")
        ),
        base_name="base",
    )
    resources = spec.Resources(cpu="1000m", memory="1024Mi", gpu=spec.Gpu(product="x"))
    installation = platform.Platform(
        platform.Images("c:1", "t:1", "s:1"), "s3://mens", {"EMPTY": ""}, "mens-s3", "ca", "robot"
    )
    deployment = serving.deployment(
        installation=installation, metadata=meta, work=work, resources=resources, replicas=0
    )
    service = serving.service(metadata=meta)
    for obj in (deployment, service):  # An owner that is not there: the collector would come.
        del obj["metadata"]["ownerReferences"]

    def taken(stored: kinds.Object, wanted: Mapping[str, Any]) -> str | None:
        trimmed = cache.trim(kinds.of(stored), stored)
        (entry,) = trimmed["metadata"]["managedFields"]
        return field_ownership.lost_field(wanted["spec"], entry["fieldsV1"]["f:spec"])

    for wanted in (deployment, service):
        stored = await world.cluster.apply(wanted)
        assert taken(stored, wanted) is None, wanted["kind"]
    stored = await world.cluster.apply(serving.scaled(await _get(world, deployment), 1))
    assert (stored["spec"]["replicas"], taken(stored, deployment)) == (1, None)
    await world.cluster.apply(deployment)

    def other_image(spec: dict[str, Any]) -> None:
        spec["template"]["spec"]["containers"][0]["image"] = "other:1"

    changed = await _changed(world, deployment, other_image)
    assert taken(changed, deployment) == "spec.template.spec.containers[main].image"
    assert taken(await world.cluster.apply(deployment), deployment) is None
    changed = await _changed(world, service, lambda spec: spec.update(selector={"app": "other"}))
    assert taken(changed, service) == "spec.selector"


async def _changed(
    world: World, obj: Mapping[str, Any], change: Callable[[dict[str, Any]], None]
) -> kinds.Object:
    """Change an object's spec as somebody else would; controllers may write between."""
    while True:
        found = await _get(world, obj)
        change(found["spec"])
        try:
            return await world.cluster.replace(found)
        except errors.Conflict:
            continue


async def _get(world: World, obj: Mapping[str, Any]) -> dict[str, Any]:
    found = await world.cluster.get(kinds.key_of(obj))
    assert found is not None
    return dict(found)


async def test_template_of_a_job_is_immutable(world: World) -> None:
    """A changed template is refused: a change means a new attempt."""
    await world.cluster.apply(job(world, "fixed"))
    other = job(world, "fixed")
    other["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    with pytest.raises(errors.Refused):
        await world.cluster.apply(other)


async def test_a_stale_status_is_a_conflict(world: World) -> None:
    """A status apply with an old resourceVersion gets 409 and changes nothing."""
    first = await world.cluster.apply(job(world, "stale"))
    await world.status(world.key("stale"), {"conditions": [_condition("Suspended")]})
    with pytest.raises(errors.Conflict):
        await world.cluster.apply_status(_status(first, {"ready": 1}))


async def test_the_status_apply_accepts_a_wrong_uid_but_not_a_wrong_version(world: World) -> None:
    """Never rely on a uid in a status apply; the version is what guards."""
    first = await world.cluster.apply(job(world, "versions"))
    wrong = _status(first, {"ready": 0})
    wrong["metadata"]["resourceVersion"] = "1"
    with pytest.raises(errors.Conflict):
        await world.cluster.apply_status(wrong)


async def test_a_status_of_nothing_is_not_found(world: World) -> None:
    """A status apply never creates."""
    ghost = {**job(world, "ghost"), "status": {"ready": 1}}
    ghost.pop("spec")
    with pytest.raises(errors.NotFound):
        await world.cluster.apply_status(ghost)


async def test_create_twice_is_a_conflict(world: World) -> None:
    """The second of two creators learns that it is the second."""
    await world.cluster.create(job(world, "made"))
    with pytest.raises(errors.Conflict):
        await world.cluster.create(job(world, "made"))


async def test_replace_minds_the_version(world: World) -> None:
    """Replacing by an old version is a conflict: what the Lease rests on."""
    record = _lease(world, "held")
    first = await world.cluster.create(record)
    spec = {**first["spec"], "leaseDurationSeconds": 11}
    await world.cluster.replace({**first, "spec": spec})
    with pytest.raises(errors.Conflict):
        await world.cluster.replace({**first, "spec": {**spec, "leaseDurationSeconds": 12}})


async def test_delete_minds_the_uid(world: World) -> None:
    """Only the object that is meant is deleted; a second time there is nothing."""
    made = await world.cluster.apply(job(world, "gone"))
    key = world.key("gone")
    assert not await world.cluster.delete(key, uid="00000000-0000-0000-0000-000000000000")
    assert await world.cluster.get(key) is not None
    assert await world.cluster.delete(key, uid=made["metadata"]["uid"])
    await _until(lambda: world.cluster.get(key), lambda found: found is None)
    assert not await world.cluster.delete(key)


async def test_delete_waits_for_finalizers(world: World) -> None:
    """An object with a finalizer stays with a deletionTimestamp until the finalizer is removed."""
    held = job(world, "held")
    held["metadata"]["finalizers"] = ["mens.test/hold"]
    made = await world.cluster.apply(held)
    key = world.key("held")
    assert await world.cluster.delete(key, uid=made["metadata"]["uid"])
    found = await world.cluster.get(key)
    assert found is not None
    assert found["metadata"]["deletionTimestamp"]
    undeleted = {k: v for k, v in found["metadata"].items() if k != "deletionTimestamp"}
    still = await world.cluster.replace({**found, "metadata": undeleted})
    assert still["metadata"]["deletionTimestamp"] == found["metadata"]["deletionTimestamp"]
    await world.cluster.replace({**still, "metadata": {**still["metadata"], "finalizers": []}})
    await _until(lambda: world.cluster.get(key), lambda found: found is None)


async def test_pages_hold_everything_once(world: World) -> None:
    """Paged lists together are the list."""
    for number in range(5):
        await world.cluster.apply(job(world, f"page-{number}"))
    found, more = [], None
    while True:
        page = await world.cluster.list_page(
            kinds.JOB,
            world.namespace,
            selector=cache.CHILD_SELECTOR,
            limit=2,
            more=more,
        )
        found += [item["metadata"]["name"] for item in page.items]
        assert all(kinds.of(item) == kinds.JOB for item in page.items)
        more = page.more
        if more is None:
            break
    assert sorted(found) == [f"page-{number}" for number in range(5)]


async def test_pages_are_one_snapshot(world: World) -> None:
    """An object deleted between two pages is still listed, and no other one is skipped."""
    for name in "abcd":
        await world.cluster.apply(job(world, f"snapshot-{name}"))
    first = await world.cluster.list_page(kinds.JOB, world.namespace, limit=2)
    await world.cluster.delete(world.key("snapshot-a"))
    last = await world.cluster.list_page(kinds.JOB, world.namespace, limit=2, more=first.more)
    found = [item["metadata"]["name"] for item in (*first.items, *last.items)]
    assert found == [f"snapshot-{name}" for name in "abcd"]


async def test_watch_yields_each_change_in_order(world: World) -> None:
    """Nothing between list and watch is lost, nothing comes twice, strangers stay out."""
    page = await world.cluster.list_page(kinds.JOB, world.namespace)
    made = await world.cluster.apply(job(world, "seen"))
    stranger = job(world, "stranger")
    stranger["metadata"]["labels"] = {}
    await world.cluster.apply(stranger)
    await world.status(world.key("seen"), {"conditions": [_condition("Suspended")]})
    await world.cluster.delete(world.key("seen"), uid=made["metadata"]["uid"])
    seen: list[tuple[str, str]] = []
    changes = world.cluster.watch(
        kinds.JOB,
        world.namespace,
        resource_version=page.resource_version,
        selector=cache.CHILD_SELECTOR,
        seconds=20,
    )
    async for change in changes:
        if change.type == "BOOKMARK":
            continue
        seen.append((change.type, change.object["metadata"]["name"]))
        if change.type == "DELETED":
            break
    assert seen[0] == ("ADDED", "seen")
    assert seen[-1] == ("DELETED", "seen")
    assert {name for _, name in seen} == {"seen"}
    assert ("MODIFIED", "seen") in seen


async def test_a_follower_lists_again_after_410(world: World) -> None:
    """A reflector whose version is too old finds out what vanished meanwhile."""
    known = cache.Cache(lambda _key, _obj: None)
    await world.cluster.apply(job(world, "stays"))
    gone = await world.cluster.apply(job(world, "vanishes"))
    scope = reflector.Scope(kinds.JOB, world.namespace, cache.CHILD_SELECTOR)
    await reflector.list_all(world.cluster, scope, known)
    assert len(known.of_kind(kinds.JOB)) == 2
    await world.cluster.delete(world.key("vanishes"), uid=gone["metadata"]["uid"])
    world.expire()
    tested = reflector.Reflector(world.cluster, scope, known, clock=asyncio.get_running_loop().time)
    task = asyncio.create_task(tested.run())
    try:
        await _until(_named(known), lambda found: found == ["stays"])
        await world.cluster.apply(job(world, "comes"))
        await _until(_named(known), lambda found: found == ["comes", "stays"])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_watch_says_deleted_of_what_no_longer_fits(world: World) -> None:
    """DELETED with the version of the change, not a deletion; fitting again it is ADDED."""
    made = await world.cluster.apply(job(world, "moved"))
    changes = world.cluster.watch(
        kinds.JOB,
        world.namespace,
        resource_version=made["metadata"]["resourceVersion"],
        selector=cache.CHILD_SELECTOR,
        seconds=20,
    )
    away = await world.cluster.replace(_labeled(made, {"app.kubernetes.io/managed-by": "Helm"}))
    back = await world.cluster.apply(job(world, "moved"))
    told = []
    async for change in changes:
        if change.type != "BOOKMARK":
            told.append((change.type, kinds.version_of(change.object)))
        if len(told) == 2:
            break
    assert told == [("DELETED", kinds.version_of(away)), ("ADDED", kinds.version_of(back))]


async def test_a_relabeled_child_is_followed_again(world: World) -> None:
    """Losing our label is not a deletion: the next apply and all later events are stored."""
    known = cache.Cache(lambda _key, _obj: None)
    scope = reflector.Scope(kinds.JOB, world.namespace, cache.CHILD_SELECTOR)
    tested = reflector.Reflector(world.cluster, scope, known, clock=asyncio.get_running_loop().time)
    task = asyncio.create_task(tested.run())
    try:
        made = await world.cluster.apply(job(world, "moved"))
        await _until(_named(known), lambda found: found == ["moved"])
        managed = {**made["metadata"]["labels"], "app.kubernetes.io/managed-by": "Helm"}
        made = await world.cluster.replace(_labeled(made, managed))
        await world.cluster.replace(_labeled(made, {}))
        await _until(_named(known), lambda found: found == [])
        known.put(await world.cluster.apply(job(world, "moved")))
        await world.status(world.key("moved"), {"conditions": [_condition("Suspended")]})

        async def told() -> list[str]:
            return [obj["status"] for obj in known.of_kind(kinds.JOB) if obj.get("status")]

        await _until(told, bool)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_lease_is_taken_kept_and_released(world: World) -> None:
    """One leads, the other waits; a clean release hands over at once."""
    key = world.key("election", kinds.LEASE)
    timing = lease.Timing(lease=5.0, fence=3.0, renew=0.1, poll=0.05)
    first = lease.Elector(world.cluster, key, "first", timing=timing)
    second = lease.Elector(world.cluster, key, "second", timing=timing)
    one = asyncio.create_task(first.run())
    await asyncio.wait_for(first.led.wait(), 5)
    two = asyncio.create_task(second.run())
    await asyncio.sleep(0.4)
    assert first.leads
    assert not second.leads
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    await first.release()
    with pytest.raises(errors.NotLeader):
        first.fence()
    await asyncio.wait_for(second.led.wait(), 2)
    second.fence()
    two.cancel()
    await asyncio.gather(two, return_exceptions=True)


def _named(known: cache.Cache) -> Callable[[], Any]:
    async def names() -> list[str]:
        return sorted(obj["metadata"]["name"] for obj in known.of_kind(kinds.JOB))

    return names


async def _until(ask: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 10) -> None:
    """Wait for a state with a deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not good(found := await ask()):
        assert loop.time() < end, found
        await asyncio.sleep(0.02)


def _status(obj: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    meta = {name: obj["metadata"][name] for name in ("namespace", "name", "resourceVersion")}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "status": dict(status)}


def _labeled(obj: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "labels": dict(labels)}}


def _condition(type_: str) -> dict[str, Any]:
    stamp = "2026-01-01T00:00:00Z"
    return {
        "type": type_,
        "status": "True",
        "reason": "Test",
        "message": "",
        "lastProbeTime": stamp,
        "lastTransitionTime": stamp,
    }


def _lease(world: World, name: str) -> dict[str, Any]:
    return {
        "apiVersion": kinds.LEASE.api_version,
        "kind": "Lease",
        "metadata": {"namespace": world.namespace, "name": name},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 10},
    }


async def drain(changes: AsyncIterator[port.Change]) -> list[port.Change]:
    """Collect a watch that ends."""
    return [change async for change in changes]
