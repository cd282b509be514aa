"""Object keys, a MensCorpus as JSON and a manual clock, for tests of the cluster modules."""

from __future__ import annotations

from typing import Any

from mens_operator.cluster import kinds

A = kinds.Key(kinds.CORPUS, "default", "a")
B = kinds.Key(kinds.CORPUS, "default", "b")
LEASE = kinds.Key(kinds.LEASE, "default", "mens-operator")


class ManualClock:
    """Seconds that change only when a test sets `now`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def corpus(name: str, version: int, uid: str = "u", **spec: Any) -> dict[str, Any]:
    meta = {"namespace": "default", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {
        "apiVersion": kinds.CORPUS.api_version,
        "kind": "MensCorpus",
        "metadata": meta,
        "spec": spec,
    }
