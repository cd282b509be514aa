"""A cluster as a value, and its record in the run folder."""

import dataclasses
import enum
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hack.cluster import folders
from hack.support import errors, processes

NODE_NAME = "mens"
"""The one real node."""


class Kind(enum.StrEnum):
    """Where a cluster comes from, which decides how images get into it and who ends it."""

    EMBEDDED = "embedded"
    """Ours, in a sandbox on this machine."""

    KIND = "kind"
    """A kind cluster that was there."""

    EXTERNAL = "external"
    """Whatever the user's KUBECONFIG names; never started, ended or loaded with images by us."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster that answers, and the client programs that fit it."""

    name: str
    kind: Kind
    kubeconfig: Path
    """What KUBECONFIG is set to: one file or, where the user has it so, several with colons."""

    kubectl: Path
    helm: Path
    """Both are bare names, for PATH to find, where a user's machine has none yet."""

    run: Path
    """Its folder: kubeconfig, sockets, certificates, logs."""

    node: bool
    """Whether it runs pods for real."""

    kwok: bool
    """Whether kwok answers for fake nodes."""

    ready: bool = True
    """Whether its start was completed; an interrupted start leaves a running sandbox."""

    sandbox: processes.Process | None = None
    """PID 1 of the sandbox as seen from the host; None for clusters that are not ours."""

    parent: processes.Process | None = None
    """The unshare process above it."""

    @property
    def logs(self) -> Path:
        """The folder of one log per component."""
        return self.run / "logs"

    def environment(self) -> dict[str, str]:
        """Returns the environment in which kubectl, helm and clients find this cluster."""
        programs = (each for each in (self.kubectl, self.helm) if each.is_absolute())
        folders = dict.fromkeys(str(each.parent) for each in programs)
        path = os.pathsep.join([*folders, os.environ.get("PATH", "")])
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def kubectl_run(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl and returns what it printed.

        Raises:
            ToolError: It failed; the message is its stderr.
        """
        command = [str(self.kubectl), *arguments]
        # Not --kubeconfig: that takes one file only.
        environment = self.environment()
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, env=environment, check=False
            )
        except FileNotFoundError as error:
            raise errors.ToolError(
                "no kubectl on PATH: `python -m hack.cluster build k8s helm` builds it"
            ) from error
        if done.returncode != 0:
            raise errors.ToolError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def alive(self) -> bool:
        """Reports whether the sandbox still runs; always true for clusters of the user's."""
        return self.sandbox is None or self.sandbox.alive()


def save(cluster: Cluster) -> None:
    """Writes the record from which `load` gives the equal value back."""
    fresh = cluster.run / "cluster.json.new"
    fresh.write_text(json.dumps(dataclasses.asdict(cluster), default=str, indent=1) + "\n")
    fresh.rename(cluster.run / "cluster.json")


def load(name: str) -> Cluster | None:
    """Reads the record of a cluster; None when there is none."""
    try:
        record: dict[str, Any] = json.loads((folders.run(name) / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    for field in ("kubeconfig", "kubectl", "helm", "run"):
        record[field] = Path(record[field])
    for field in ("sandbox", "parent"):
        record[field] = processes.Process(**record[field]) if record[field] else None
    return Cluster(**{**record, "kind": Kind(record["kind"])})


def test_process(name: str) -> int | None:
    """Returns the process of the test run that a cluster belongs to; None for other clusters."""
    match = re.match(r"test-(\d+)-", name)
    return int(match[1]) if match else None


def names() -> list[str]:
    """Returns the clusters that have a run folder, running or not."""
    return sorted(path.parent.name for path in folders.run_root().glob("*/cluster.json"))
