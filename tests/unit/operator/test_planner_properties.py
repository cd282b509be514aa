"""Properties of the planner, on random states."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mens.api import corpus, reasons, serve, trainrun
from mens.runtime import jobs
from mens_operator import store_reader
from mens_operator.cluster import in_memory, kinds
from mens_operator.manifests import names
from mens_operator.plans import facts, outcomes, planner
from tests.support import simulation

NOW = simulation.START
UID = "00000000-0000-4000-8000-000000000001"
MODELS: Final[Mapping[str, type[corpus.MensCorpus | trainrun.MensTrainRun | serve.MensServe]]] = {
    "MensCorpus": corpus.MensCorpus,
    "MensTrainRun": trainrun.MensTrainRun,
    "MensServe": serve.MensServe,
}

stamps = st.integers(-900, 900).map(
    lambda seconds: (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
)
words = st.sampled_from(["", "x", "Failed", "BackoffLimitExceeded", "DeadlineExceeded", "Evicted"])
small = st.integers(0, 2)
messages = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            '{"reason": "SourceNotFound", "message": "gone"}',
            '{"reason": "bad reason", "message": ""}',
            '{"reason": 5}',
        ]
    ),
)
terminated = st.fixed_dictionaries(
    {"exitCode": st.sampled_from([0, 1, 64, 70, 71, 75, 137, 143, 255])},
    optional={"reason": st.sampled_from(["OOMKilled", "Error", ""]), "message": messages},
)
waiting = st.fixed_dictionaries(
    {"reason": st.sampled_from(["ImagePullBackOff", "CrashLoopBackOff", "ContainerCreating"])},
    optional={"message": st.text(max_size=20)},
)
states = st.fixed_dictionaries({}, optional={"terminated": terminated, "waiting": waiting})
containers = st.lists(
    st.fixed_dictionaries({}, optional={"state": states, "lastState": states}), max_size=2
)
conditions = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Complete", "Failed", "Suspended", "Ready", "PodScheduled"]),
            "status": st.sampled_from(["True", "False", "Unknown"]),
        },
        optional={
            "reason": st.sampled_from(["Unschedulable", "DeadlineExceeded", "x"]),
            "message": st.text(max_size=20),
            "lastTransitionTime": stamps,
        },
    ),
    max_size=3,
)


mens_jobs = st.sampled_from(["", "{}", '{"base": 1}', "no JSON"])
deployed = st.fixed_dictionaries(
    {},
    optional={
        "replicas": small,
        "template": mens_jobs.map(
            lambda text: {
                "spec": {
                    "containers": [{"name": "main", "env": [{"name": "MENS_JOB", "value": text}]}]
                }
            }
        ),
    },
)


def child(kind: str, name: str, labels: Mapping[str, str], status: Any) -> dict[str, Any]:
    owner = {"kind": "Mens", "uid": UID, "controller": True}
    api = {"Job": "batch/v1", "Deployment": "apps/v1"}.get(kind, "v1")
    meta = {
        "namespace": "default",
        "name": name,
        "uid": f"uid-{name}",
        "creationTimestamp": "2026-01-01T11:59:00Z",
        "generation": 1,
        "labels": {names.UID_LABEL: UID, **labels},
        "ownerReferences": [owner],
    }
    return {"apiVersion": api, "kind": kind, "metadata": meta, "spec": {}, "status": status}


@st.composite
def children(draw: st.DrawFn, spec_key: str) -> list[dict[str, Any]]:
    """Jobs of this and other specs, their pods, strangers' pods, Deployments."""
    found = []
    for number in draw(st.lists(st.integers(1, 3), unique=True, max_size=3)):
        key = draw(st.sampled_from([spec_key, "0123456789"]))
        name = names.job("thing", key, number)
        status = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "active": small,
                    "ready": small,
                    "conditions": conditions,
                    "completionTime": stamps,
                },
            )
        )
        found.append(
            child("Job", name, {names.SPEC_HASH_LABEL: draw(st.sampled_from([key, "x"]))}, status)
        )
        for pod in range(draw(st.integers(0, 2))):
            status = draw(
                st.fixed_dictionaries(
                    {"phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed"])},
                    optional={
                        "conditions": conditions,
                        "containerStatuses": containers,
                        "reason": words,
                        "message": st.text(max_size=20),
                    },
                )
            )
            labels = {"batch.kubernetes.io/job-name": name}
            made = child("Pod", f"{name}-{pod}", labels, status)
            made["metadata"] |= draw(
                st.fixed_dictionaries({}, optional={"deletionTimestamp": stamps})
            )
            owner = draw(st.sampled_from([f"uid-{name}", "gone"]))
            made["metadata"]["ownerReferences"] = [{"uid": owner, "controller": True}]
            found.append(made)
    if draw(st.booleans()):
        status = draw(
            st.fixed_dictionaries(
                {}, optional={"replicas": small, "readyReplicas": small, "updatedReplicas": small}
            )
        )
        made = child("Deployment", "thing", {}, status)
        made["spec"] = draw(deployed)
        owned = draw(st.sampled_from([{}, {"f:spec": {}}, {"f:spec": {"f:replicas": {}}}]))
        entry = {"manager": names.MANAGER, "fieldsV1": owned, "time": draw(stamps)}
        made["metadata"]["managedFields"] = [entry]
        found.append(made)
    return found


problems = st.builds(
    facts.Problem,
    st.sampled_from([reasons.OBJECT_NOT_FOUND, reasons.STORAGE_DENIED, reasons.PICKLE_REFUSED]),
    st.text(max_size=20),
    st.booleans(),
)
progress = st.builds(
    jobs.Progress,
    stage=st.sampled_from(["Train", "x" * 65]),
    attempt=small,
    step=st.integers(-1, 9),
    total_steps=st.integers(0, 9),
)


def resource(kind: str) -> dict[str, Any]:
    text = {
        "MensCorpus": simulation.CORPUS,
        "MensTrainRun": simulation.TRAINRUN,
        "MensServe": simulation.SERVE,
    }[kind]
    obj: dict[str, Any] = yaml.safe_load(text)
    obj["metadata"] |= {"name": "thing", "uid": UID, "generation": 1, "resourceVersion": "5"}
    obj["metadata"]["creationTimestamp"] = "2026-01-01T11:00:00Z"
    return obj


def answer(query: facts.Query, drawn: Any) -> facts.Answer:
    """An answer that fits the query."""
    kind, problem, progress_ = drawn
    if kind == "problem":
        return problem  # type: ignore[no-any-return]
    match query:
        case facts.Storage():
            return facts.StorageReady()
        case facts.Progress():
            return progress_  # type: ignore[no-any-return]
        case _:
            return _artifact(kind == "unlicensed")


@functools.cache
def _artifact(unlicensed: bool) -> facts.Artifact:
    world = simulation.Simulation()
    world.add_model(known_license=not unlicensed)
    found = store_reader.read(world.store, facts.BaseModel("s3://mens/models/tiny/1"))
    world.close()
    assert isinstance(found, facts.Artifact)
    return found


drawn_answers = st.tuples(
    st.sampled_from(["good", "unlicensed", "problem", "problem"]), problems, progress
)


def plan(
    raw: Mapping[str, Any],
    kids: list[dict[str, Any]],
    answers: Mapping[facts.Query, facts.Answer],
    now: Any = NOW,
) -> outcomes.Outcome:
    observed = outcomes.Observed(tuple(kids), {}, answers)
    outcome = planner.plan(
        raw,
        observed,
        now=now,
        installation=simulation.INSTALLATION,
        policy=simulation.POLICY,
    )
    assert "while planning" not in str(outcome.status), "an error was turned into a condition"
    return outcome


def answered(
    raw: Mapping[str, Any], kids: list[dict[str, Any]], drawn: Any
) -> tuple[outcomes.Outcome, dict[facts.Query, facts.Answer]]:
    """Plan with all questions answered."""
    answers: dict[facts.Query, facts.Answer] = {}
    outcome = plan(raw, kids, answers)
    for _ in range(5):
        new = [query for query in outcome.queries if query not in answers]
        if not new:
            break
        answers.update({query: answer(query, drawn) for query in new})
        outcome = plan(raw, kids, answers)
    return outcome, answers


def applied(
    raw: dict[str, Any], kids: list[dict[str, Any]], outcome: outcomes.Outcome
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The world after an outcome, as the fake API server would have it."""
    world = in_memory.InMemoryApiServer(lambda: NOW)
    gone = {(removal.kind, removal.name) for removal in outcome.removals}
    kept = [kid for kid in kids if (kid["kind"], kid["metadata"]["name"]) not in gone]
    new = {(obj["kind"], obj["metadata"]["name"]) for obj in outcome.objects}
    kept = [kid for kid in kept if (kid["kind"], kid["metadata"]["name"]) not in new]
    made = [world.put(obj) for obj in outcome.objects]
    after = dict(raw)
    if outcome.status is not None:
        after["status"] = dict(outcome.status)
    return after, kept + made


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_planning_is_total_and_idempotent(data: st.DataObject) -> None:
    """For any observation: no crash, a valid status, and a second plan without changes."""
    kind = data.draw(st.sampled_from(sorted(MODELS)))
    raw = resource(kind)
    spec_key = _spec_hash(kind)
    kids = data.draw(children(spec_key))
    drawn = data.draw(drawn_answers)
    if data.draw(st.booleans()):
        before, _ = answered(raw, data.draw(children(spec_key)), drawn)
        raw["status"] = dict(before.status or {})
    outcome, answers = answered(raw, kids, drawn)
    if outcome.status is not None:
        model = MODELS[kind].model_validate({**raw, "status": outcome.status})
        assert model.status.wire() == outcome.status
    after, now_there = applied(raw, kids, outcome)
    if any(removal.kind == kind for removal in outcome.removals):
        return
    again = plan(after, now_there, answers)
    for _ in range(4):  # A new Job, a recorded end: each pass may lead to one more, but it ends.
        if _is_quiet(again, after):
            break
        after, now_there = applied(after, now_there, again)
        again = plan(after, now_there, answers)
    assert _is_quiet(again, after), again


@functools.cache
def _spec_hash(kind: str) -> str:
    """The spec hash of the first Job of a kind; any hash for a kind without Jobs or inputs."""
    first, _ = answered(resource(kind), [], ("good", None, None))
    hashes = [obj["metadata"]["labels"].get(names.SPEC_HASH_LABEL) for obj in first.objects]
    return next((found for found in hashes if found), "0123456789")


def _is_quiet(outcome: outcomes.Outcome, raw: Mapping[str, Any]) -> bool:
    same = outcome.status is None or outcome.status == raw.get("status")
    return same and not outcome.objects and not outcome.removals


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_end_is_latched(data: st.DataObject) -> None:
    """Once Succeeded is True or False, no observation creates a Job while the spec stays."""
    raw = resource("MensCorpus")
    end = data.draw(st.sampled_from(["True", "False"]))
    stamp = "2026-01-01T11:30:00Z"
    raw["status"] = {
        "observedGeneration": 1,
        "attempts": 4,
        "jobName": "thing-0123456789-4",
        "completionTime": stamp,
        "conditions": [
            {
                "type": "Succeeded",
                "status": end,
                "observedGeneration": 1,
                "lastTransitionTime": stamp,
                "reason": "Succeeded",
                "message": "",
            }
        ],
    }
    kids = data.draw(children("0123456789"))
    outcome, _ = answered(raw, kids, data.draw(drawn_answers))
    assert not outcome.objects
    assert outcome.status is not None
    states = {item["type"]: item["status"] for item in outcome.status["conditions"]}
    assert states["Succeeded"] == end


def test_first_plan_sets_all_conditions() -> None:
    """Each type, with the observed generation, a reason and a message."""
    for kind in MODELS:
        problem = ("problem", facts.Problem(reasons.STORAGE_DENIED, "no", storage=True), None)
        outcome, _ = answered(resource(kind), [], problem)
        assert outcome.status is not None
        found = outcome.status["conditions"]
        assert {item["type"] for item in found} == set(planner.CONDITION_TYPES[kind][0])
        for item in found:
            assert item["observedGeneration"] == 1
            assert item["message"]


@settings(max_examples=200, deadline=None)
@given(
    name=st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,120}[a-z0-9])?", fullmatch=True),
    attempt=st.integers(1, 9999),
)
def test_names_round_trip(name: str, attempt: int) -> None:
    """At most 63 characters, a DNS label, and the attempt can be parsed from it."""
    key = names.key(name)
    job = names.job(name, key, attempt)
    assert len(job) <= 63
    assert names.parse_job(job) == (key, attempt)
    service = names.service(name)
    assert len(service) <= 63
    assert service[0].isalpha()
    for text in (job, service):
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert text[0] != "-"
        assert text[-1] != "-"


def test_names_do_not_depend_on_the_process() -> None:
    """A restarted operator must find the Job that it created."""
    assert names.key("a", {"b": 1, "a": [2]}) == "166b1d780e"
    assert names.key({"a": 1, "b": 2}) == names.key({"b": 2, "a": 1})


def test_kinds_agree_with_the_api() -> None:
    """`cluster.kinds` and `mens.api` use the same plural names."""
    for kind in kinds.RESOURCES:
        assert MODELS[kind.name].NAMES.plural == kind.plural
