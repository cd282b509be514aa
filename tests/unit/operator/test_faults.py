"""Crashes, gaps and lost responses: the end state is unchanged and nothing is duplicated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
import yaml

from mens_operator.cluster import errors, kinds
from tests.support import simulation
from tests.support.simulation import CORPUS_KEY, RUN_KEY, SERVE_KEY, Simulation


class Crash(BaseException):
    """SIGKILL: nothing after it runs, no except clause sees it."""


async def whole_course(sim: Simulation) -> None:
    """Corpus, run and endpoint, from nothing to serving."""
    sim.add_model()
    sim.apply(simulation.CORPUS)
    sim.apply(simulation.TRAINRUN)
    sim.apply(simulation.SERVE)
    await sim.settle()
    await sim.build_corpus()
    await sim.train()
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "observedGeneration": 1}
    await sim.settle()
    sim.cluster.set_status(kinds.Key(kinds.DEPLOYMENT, "default", "chat"), counts)
    await sim.settle()


def expect_the_end(sim: Simulation) -> None:
    """Everything has succeeded and exists once."""
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("True", "Succeeded")
    assert sim.status_and_reason(SERVE_KEY, "Ready") == ("True", "Serving")
    assert len(sim.names(kinds.JOB)) == 2
    assert sim.names(kinds.DEPLOYMENT) == sim.names(kinds.SERVICE) == ["chat"]
    uids = [obj["metadata"]["uid"] for obj in sim.cluster.objects(kinds.JOB)]
    assert len(set(uids)) == 2


def crashing(sim: Simulation, at: int, *, after: bool) -> Callable[[str, kinds.Key], None]:
    """Return a hook that kills the operator at its n-th write, before or after it is done."""
    count = [0]

    def hook(_verb: str, _key: kinds.Key) -> None:
        count[0] += 1
        if count[0] == at:
            raise Crash

    setattr(sim.cluster, "after_write" if after else "before_write", hook)
    return hook


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 17))
async def test_crash_at_any_write_converges(sim: Simulation, at: int, after: bool) -> None:
    """Killed before or after any write, a new process ends where an undisturbed one does."""
    settle = sim.settle

    async def surviving(rounds: int = 50) -> None:
        try:
            await settle(rounds)
        except Crash:
            sim.restart()
            await settle(rounds)

    sim.settle = surviving  # type: ignore[method-assign]
    crashing(sim, at, after=after)
    await whole_course(sim)
    expect_the_end(sim)


async def test_lost_responses_and_refused_connections_converge(sim: Simulation) -> None:
    """Every third write times out, before or after it was done; retries converge."""
    count = [0]

    def maybe(_verb: str, _key: kinds.Key) -> None:
        count[0] += 1
        if count[0] % 3 == 0:
            raise errors.Unavailable("timed out")

    sim.cluster.before_write = maybe
    sim.cluster.after_write = maybe
    settle = sim.settle

    async def patient(rounds: int = 50) -> None:
        for _ in range(8):
            await settle(rounds)
            sim.clock.moment += timedelta(seconds=2)

    sim.settle = patient  # type: ignore[method-assign]
    await whole_course(sim)
    expect_the_end(sim)


async def test_deletions_while_the_operator_is_down_are_noticed(sim: Simulation) -> None:
    """After a restart, no object is planned for a resource that was deleted meanwhile."""
    sim.apply(simulation.CORPUS)
    sim.apply(simulation.CORPUS.replace("name: docs}", "name: other}"))
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    sim.cluster.remove(CORPUS_KEY)
    sim.apply(simulation.CORPUS.replace("name: docs}", "name: other}"), split={"seed": 99})
    sim.cluster.compact()
    sim.restart()
    await sim.advance(60)
    other = kinds.Key(kinds.CORPUS, "default", "other")
    assert [job["metadata"]["ownerReferences"][0]["name"] for job in sim.jobs(other)] == ["other"]
    assert len(sim.names(kinds.JOB)) == 1


async def test_recreated_resource_is_another_resource(sim: Simulation) -> None:
    """The same name with a new UID gets a Job of its own, under another name."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    first = sim.job(CORPUS_KEY)["metadata"]["name"]
    sim.cluster.remove(CORPUS_KEY)
    sim.apply(simulation.CORPUS)
    await sim.settle()
    assert sim.job(CORPUS_KEY)["metadata"]["name"] != first
    await sim.build_corpus()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")


async def test_deleted_job_is_created_again(sim: Simulation) -> None:
    """The same attempt under the same name: it was not over."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    name = sim.job(CORPUS_KEY)["metadata"]["name"]
    for pod in sim.names(kinds.POD):
        sim.cluster.remove(kinds.Key(kinds.POD, "default", pod))
    sim.cluster.remove(kinds.key_of(sim.job(CORPUS_KEY)))
    await sim.advance(5)
    assert sim.names(kinds.JOB) == [name]


async def test_finished_run_never_creates_another_job(sim: Simulation) -> None:
    """Terminal is latched: the TTL of the Job, a new corpus and restarts change nothing."""
    await whole_course(sim)
    digest = sim.status(RUN_KEY)["artifact"]["digest"]
    for job in sim.names(kinds.JOB):
        sim.cluster.remove(kinds.Key(kinds.JOB, "default", job))
    sim.apply(simulation.CORPUS, split={"seed": 99})
    sim.restart()
    await sim.advance(700)
    assert not sim.jobs(RUN_KEY)
    assert sim.status(RUN_KEY)["artifact"]["digest"] == digest
    assert len(sim.jobs(CORPUS_KEY)) == 1


async def test_conflict_on_a_status_write_is_resolved(sim: Simulation) -> None:
    """A conflict costs one more read, and no change is lost."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.sync()
    obj = yaml.safe_load(simulation.CORPUS)
    obj["metadata"]["labels"] = {"team": "a"}
    job = sim.job(CORPUS_KEY)
    sim.cluster.set_status(kinds.key_of(job), {"active": 1, "ready": 1})
    await sim.sync()
    sim.cluster.put(obj)  # the cache does not know yet
    assert await sim.reconciler(CORPUS_KEY) == 0.2
    await sim.settle()
    assert sim.status_and_reason(CORPUS_KEY, "Running") == ("True", "Running")


@pytest.mark.parametrize("kept", [["mens.vox-lang.org/uid"], []])
async def test_relabeled_job_is_not_lost(sim: Simulation, kept: list[str]) -> None:
    """Somebody removes labels from a running Job, ours too: its end is still seen."""
    sim.apply(simulation.CORPUS)
    await sim.settle()
    await sim.start_pod(CORPUS_KEY)
    job = sim.job(CORPUS_KEY)
    labels = {name: job["metadata"]["labels"][name] for name in kept}
    sim.cluster.put({**job, "metadata": {**job["metadata"], "labels": labels}})
    await sim.settle()
    await sim.build_corpus()
    await sim.advance(60)
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    assert [each["metadata"]["uid"] for each in sim.jobs(CORPUS_KEY)] == [job["metadata"]["uid"]]


async def test_refusal_with_varying_message_backs_off(sim: Simulation) -> None:
    """Reporting it does not wake the run earlier; an edit of the spec does."""
    refusals = [0]

    def webhook(verb: str, key: kinds.Key) -> None:
        if verb == "apply" and key.kind == kinds.JOB and refusals[0] < 9:
            refusals[0] += 1
            raise errors.Refused(f"403: the webhook denied request {refusals[0]}")

    sim.cluster.before_write = webhook
    sim.apply(simulation.CORPUS)
    await sim.settle()
    assert refusals == [2], "at once and after half a second, which counts as now"
    assert "request 2" in sim.condition(CORPUS_KEY, "Succeeded")[2]
    await sim.advance(60)
    assert refusals[0] < 9, "the pauses double"
    refusals[0] = 9
    sim.apply(simulation.CORPUS, split={"seed": 99})
    await sim.settle()
    assert len(sim.jobs(CORPUS_KEY)) == 1


@pytest.mark.parametrize("seed", range(12))
async def test_random_walk_converges(sim: Simulation, seed: int) -> None:
    """Mutations, failures, restarts and losses in any order; then status agrees with spec."""
    walk = random.Random(seed)
    sim.add_model()
    sim.apply(simulation.CORPUS)
    sim.apply(simulation.TRAINRUN)
    changes: dict[str, object] = {}

    async def pod() -> None:
        for key in (CORPUS_KEY, RUN_KEY):
            if sim.jobs(key) and "conditions" not in sim.job(key).get("status", {}):
                await sim.start_pod(key)

    async def ending() -> None:
        key = walk.choice([CORPUS_KEY, RUN_KEY])
        if sim.jobs(key) and "conditions" not in sim.job(key).get("status", {}):
            await sim.end_pod(key, walk.choice([64, 75, 143, 137]))

    async def mutation() -> None:
        changes["split"] = {"seed": walk.randrange(3)}
        changes["suspend"] = walk.random() < 0.3
        sim.apply(simulation.CORPUS, **changes)

    async def loss() -> None:
        for job in sim.names(kinds.JOB)[:1]:
            sim.cluster.remove(kinds.Key(kinds.JOB, "default", job))

    async def death() -> None:
        sim.restart()

    for _ in range(25):
        await walk.choice([pod, ending, mutation, loss, death])()
        await sim.settle()
        await sim.advance(walk.choice([1, 10, 100]))
        _expect_no_duplicates(sim)
    sim.apply(simulation.CORPUS, split=changes.get("split", {"seed": 17}), suspend=False)
    await sim.advance(700)
    if sim.status_and_reason(CORPUS_KEY, "Succeeded")[0] != "True":
        await sim.build_corpus()
    await sim.advance(700)
    if sim.status_and_reason(RUN_KEY, "Succeeded")[0] != "True":
        await sim.train()
    assert sim.status_and_reason(CORPUS_KEY, "Succeeded") == ("True", "Succeeded")
    assert sim.status_and_reason(RUN_KEY, "Succeeded") == ("True", "Succeeded")
    for key in (CORPUS_KEY, RUN_KEY):
        generation = next(
            obj["metadata"]["generation"]
            for obj in sim.cluster.objects(key.kind)
            if kinds.key_of(obj) == key
        )
        assert sim.status(key)["observedGeneration"] == generation


def _expect_no_duplicates(sim: Simulation) -> None:
    """At most one Job of a resource is unfinished."""
    unfinished = Counter(
        job["metadata"]["ownerReferences"][0]["uid"]
        for job in sim.cluster.objects(kinds.JOB)
        if not job.get("status", {}).get("conditions")
    )
    assert all(count == 1 for count in unfinished.values()), sim.names(kinds.JOB)
