"""`make demo` as a whole: the real standard library, the real SmolLM2, and what it prints last."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hack.cluster import clusters
from hack.demo import console, job, kubectl

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def printed(node_cluster: clusters.Cluster, kube: kubectl.Kubectl) -> Iterator[str]:
    """What the demo prints on the cluster of the session; its resources go afterwards."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "say", lambda text="": said.append(text))
        job.run(node_cluster, console.Stages(job.STAGES), time.time())
    yield "\n".join(said)
    kube("delete", "namespace", job.NAMESPACE)


@pytest.fixture(scope="module")
def last(printed: str) -> dict[str, Any]:
    """The last line, which machines read."""
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def test_the_adapter_learns_the_task(last: dict[str, Any]) -> None:
    """The held-out loss falls, and the adapter answers more of the held-out questions."""
    assert last["demo"] == "ok"
    assert last["heldout_loss"]["after"] < last["heldout_loss"]["before"]
    assert last["answers"]["adapter"]["right"] > last["answers"]["base"]["right"]
    assert last["answers"]["adapter"]["of"] == last["answers"]["base"]["of"] == job.QUESTIONS


def test_the_last_line_is_the_contract(last: dict[str, Any]) -> None:
    """Digests, licenses of base and sources, and the figures of machine and run."""
    assert set(last) == {
        "demo",
        "seconds",
        "heldout_loss",
        "answers",
        "digests",
        "licenses",
        "tokens_per_second",
        "peak_rss_mb",
    }
    assert set(last["digests"]) == {"corpus", "adapter"}
    assert all(digest.startswith("sha256:") for digest in last["digests"].values())
    assert {"Apache-2.0", "PSF-2.0"} <= set(last["licenses"])
    assert {"install", "corpus", "train", "serve", "ask", "total"} <= set(last["seconds"])
    assert last["tokens_per_second"] > 0
    assert last["peak_rss_mb"] > 0


def test_rows_that_are_no_longer_there_are_counted(
    printed: str, last: dict[str, Any], kube: kubectl.Kubectl
) -> None:
    """The standard library has thousands of functions without docstrings, and doubles."""
    found = kube.get(job.NAMESPACE, "menscorpus", job.NAME)
    assert found is not None
    rows = found["status"]["rows"]
    assert rows["filtered"] > 1000
    assert rows["duplicate"] > 0


def test_a_person_reads_answers_lineage_and_what_to_do_next(printed: str) -> None:
    """Both models' answers, the licenses down to the sources, and commands that work."""
    for word in (job.BASE, job.NAME, "PSF-2.0", "sha256:", "export KUBECONFIG=", "demo-down"):
        assert word in printed
