"""Bad input is named in a condition; a resource recovers by itself once the cause is gone."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hack.demo import kubectl, platform
from mens.artifacts import refs
from tests.e2e import conftest, resources, troubles

pytestmark = pytest.mark.e2e

Kind = type[troubles.Trouble]
Stages = dict[Kind, troubles.Stage]
Seen = dict[Kind, dict[str, Any]]
SECONDS = 240
"""The operator looks at wrong input after 30 s, then after ever longer pauses."""


@pytest.fixture(scope="module")
def stages(
    kube: kubectl.Kubectl, storage: platform.Storage, base: str, beside_the_demo: None
) -> Iterator[Stages]:
    """A namespace for each trouble, and the trouble in it: all wait at once, to save time."""
    stamp = int(time.time()) % 10**5
    made = {}
    for trouble in troubles.ALL:
        space = f"t-{trouble.__name__.lower()}-{stamp}"
        platform.add_namespace(kube, space)
        made[trouble] = troubles.Stage(kube, storage, base, space)
        trouble().spoil(made[trouble])
    yield made
    for stage in made.values():
        kube("delete", "namespace", stage.space, "--wait=false")


@pytest.fixture(scope="module")
def seen(stages: Stages) -> Seen:
    """Each resource once it says what is the matter, or as it is when it never does."""
    return {
        trouble: _awaited(stage, trouble, trouble.said[0], trouble.said[1])
        for trouble, stage in stages.items()
    }


@dataclasses.dataclass(frozen=True)
class Traces:
    """What a trouble has left in its namespace while it was there."""

    jobs: str
    """Names of the Jobs."""
    events: str
    """All events, as YAML."""
    logs: str
    """What the Jobs' pods have printed."""


@pytest.fixture(scope="module")
def traces(kube: kubectl.Kubectl, stages: Stages, seen: Seen) -> dict[Kind, Traces]:
    """Read before anything is mended: later attempts take the first one's Job away."""
    found = {}
    for trouble, stage in stages.items():
        jobs = kube("-n", stage.space, "get", "jobs", "-o", "name")
        events = kube("-n", stage.space, "get", "events", "-o", "yaml")
        logs = [kube("-n", stage.space, "logs", job, check=False) for job in jobs.split()]
        found[trouble] = Traces(jobs, events, "".join(logs))
    return found


@pytest.fixture(scope="module")
def mended(
    stages: Stages,
    seen: Seen,
    traces: dict[Kind, Traces],
) -> Seen:
    """Each resource after its cause was taken away, and nothing else."""
    for trouble, stage in stages.items():
        trouble().mend(stage)
    return {
        trouble: _awaited(stage, trouble, trouble.mended[0], trouble.mended[1])
        for trouble, stage in stages.items()
    }


def _awaited(stage: troubles.Stage, trouble: Kind, condition: str, reason: str) -> dict[str, Any]:
    return conftest.awaited(
        stage.kube, (stage.space, trouble.kind, trouble.name), condition, reason, SECONDS
    )


def _names(trouble: Kind) -> str:
    return trouble.__name__


@pytest.mark.parametrize("trouble", troubles.ALL, ids=_names)
def test_trouble_is_said(
    trouble: Kind,
    stages: Stages,
    seen: Seen,
) -> None:
    """A condition has the reason; its message names the value and the fix; nothing is published."""
    condition, reason = trouble.said
    said = kubectl.condition_of(seen[trouble], condition)
    assert said.get("reason") == reason, seen[trouble].get("status")
    assert said["status"] != "True"
    for word in trouble.words:
        assert word in said["message"]
    status = seen[trouble]["status"]
    assert "artifact" not in status
    assert status.get("readyReplicas", 0) == 0
    uid = seen[trouble]["metadata"]["uid"]
    for kind in ("corpora", "runs"):
        held = stages[trouble].target.list(refs.Uri.parse(f"s3://mens/{kind}/{uid}"))
        assert not [info for info in held if info.uri.name == "manifest.json"]


@pytest.mark.parametrize("trouble", troubles.ALL, ids=_names)
def test_trouble_is_forgotten(trouble: Kind, mended: Seen) -> None:
    """Once the cause is gone, the resource goes on without being touched."""
    condition, reason = trouble.mended
    said = kubectl.condition_of(mended[trouble], condition)
    assert said.get("reason") == reason, mended[trouble].get("status")


def test_no_job_for_what_is_known_to_be_wrong(traces: dict[Kind, Traces], seen: Seen) -> None:
    """Neither an unknown license nor a pickle costs a pod of the run."""
    for trouble in (troubles.UnknownLicense, troubles.Pickle):
        assert "/run-" not in traces[trouble].jobs
        assert "jobName" not in seen[trouble]["status"]
    assert "/corpus-" in traces[troubles.MissingSource].jobs


def test_refused_secret_is_nowhere(traces: dict[Kind, Traces], seen: Seen) -> None:
    """A wrong secret is in no status, no event and no log of the job."""
    left, secret = traces[troubles.WrongCredentials], troubles.WrongCredentials.secret
    assert "StorageDenied" in left.events
    assert "StorageDenied" in left.logs
    for text in (json.dumps(seen[troubles.WrongCredentials]), left.events, left.logs):
        assert secret not in text


@pytest.mark.usefixtures("alone")
def test_store_outage_recovers(kube: kubectl.Kubectl, space: str, wait_for: Any) -> None:
    """A store that does not answer is said so on the resource, and forgotten when it is back."""
    service = ("-n", platform.SYSTEM, "patch", platform.STORE, "--type=merge", "-p")
    selector = kube("-n", platform.SYSTEM, "get", platform.STORE, "-o", "jsonpath={.spec.selector}")
    nobody = dict.fromkeys(json.loads(selector), "nobody")
    kube(*service, json.dumps({"spec": {"selector": nobody}}))
    try:
        kube.apply(resources.corpus(space, "s3://mens/outage/"))
        wait_for("menscorpus", "corpus", "StorageReady", "StorageUnreachable")
    finally:
        kube(*service, json.dumps({"spec": {"selector": json.loads(selector)}}))
    wait_for("menscorpus", "corpus", "StorageReady", "StorageReady")


def test_rule_refuses_spec(kube: kubectl.Kubectl, space: str) -> None:
    """The API server refuses a spec that breaks a rule and says which."""
    manifest = resources.corpus(space, "s3://mens/x/")
    manifest["spec"]["sources"][0]["git"] = {"url": "https://git.example/x.git", "revision": "main"}
    with pytest.raises(kubectl.DemoError, match="exactly one of: s3, git"):
        kube.apply(manifest)
