"""The demo beside other tests: it computes, while they mostly wait for the operator."""

from __future__ import annotations

import threading
import time

import pytest

from hack.cluster import clusters
from hack.demo import console, job, kubectl


class DemoRun:
    """One run of `make demo` on a cluster, in a thread of its own; it starts at once.

    Args:
        cluster: Where the demo runs.
        kube: kubectl for it.
        patch: Replaces the demo's output by a record of it; undone by the caller.
    """

    def __init__(
        self, cluster: clusters.Cluster, kube: kubectl.Kubectl, patch: pytest.MonkeyPatch
    ) -> None:
        self._cluster = cluster
        self._kube = kube
        self._lines: list[str] = []
        self._failure: BaseException | None = None
        self._print = console.say
        patch.setattr(console, "say", self._say)
        # A daemon, so that an interrupted pytest ends although the demo has not.
        self._thread = threading.Thread(target=self._run, name="demo", daemon=True)
        self._thread.start()

    def printed(self) -> str:
        """Waits until the demo has ended and returns what it printed; raises what it raised."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return "\n".join(self._lines)

    def remove(self) -> None:
        """Deletes its resources, unless it still runs because the tests were interrupted."""
        if not self._thread.is_alive():
            self._kube("delete", "namespace", job.NAMESPACE, "--ignore-not-found")

    def _run(self) -> None:
        try:
            job.run(self._cluster, console.Stages(job.STAGES), time.time())
        except BaseException as failure:  # raised again where somebody waits
            self._failure = failure

    def _say(self, text: str = "") -> None:
        # Other tests use the demo's functions at the same time.
        if threading.current_thread() is self._thread:
            self._lines.append(text)
        else:
            self._print(text)
