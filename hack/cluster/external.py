"""Clusters of the user's: the one in KUBECONFIG, or a kind cluster."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from hack.cluster import clusters, folders, pki
from hack.support import errors, paths

_CONTEXT = re.compile(r"^current-context:[ \t]*[^\s\"']", re.MULTILINE)
"""A kubeconfig that chooses a context; an empty one chooses nothing."""

CHOICES = ("embedded", "kubeconfig", "kind")
"""Values of MENS_CLUSTER: the embedded one, the one in KUBECONFIG, the first kind cluster."""


FOREIGN = ("kubeconfig", "kind")
"""The values that select a cluster of the user's."""


def find(environment: Mapping[str, str] | None = None) -> clusters.Cluster | None:
    """Returns the cluster the user names; None when the embedded one is to be used.

    MENS_CLUSTER decides: `embedded`, `kubeconfig` or `kind`. Without it a KUBECONFIG is used, but
    not one of ours (it is set in `shell`), and not a kind cluster that merely happens to be there.
    """
    environment = os.environ if environment is None else environment
    configured = environment.get("KUBECONFIG", "")
    wanted = environment.get("MENS_CLUSTER", "")
    if wanted not in ("", *CHOICES):
        raise errors.ToolError(f"MENS_CLUSTER={wanted}: choose one of {', '.join(CHOICES)}")
    if wanted == "kind":
        return _from_kind()
    files = [Path(each) for each in configured.split(os.pathsep) if each]
    if wanted == "embedded" or not files or _ours(files):
        if wanted == "kubeconfig":
            raise errors.ToolError("MENS_CLUSTER=kubeconfig: set KUBECONFIG to the file to use")
        return None
    return _from_kubeconfig(files)


def isolate(environment: MutableMapping[str, str]) -> None:
    """Removes the user's cluster from an environment unless MENS_CLUSTER selects it.

    Tests change definitions, cut the store off and uninstall: a KUBECONFIG that a shell exports
    for other work does not allow that.
    """
    if environment.get("MENS_CLUSTER") not in FOREIGN:
        environment["MENS_CLUSTER"] = "embedded"
        environment.pop("KUBECONFIG", None)


def lacking(cluster: clusters.Cluster) -> list[str]:
    """Returns the toolsets to build, because the machine lacks their client programs."""
    toolsets = {"k8s": cluster.kubectl, "helm": cluster.helm}
    return [toolset for toolset, program in toolsets.items() if not program.is_absolute()]


def forget(cluster: clusters.Cluster) -> None:
    """Removes what `find` has written about a cluster of the user's."""
    if cluster.kind is clusters.Kind.KIND:
        shutil.rmtree(cluster.run, ignore_errors=True)


def _from_kubeconfig(files: Sequence[Path]) -> clusters.Cluster:
    """As kubectl does it: of several files those that exist count."""
    configured = os.pathsep.join(map(str, files))
    if not any(path.exists() for path in files):
        raise errors.ToolError(
            f"KUBECONFIG={configured} does not exist; unset it or set MENS_CLUSTER=embedded"
        )
    cluster = _record("external", clusters.Kind.EXTERNAL, Path(configured))
    # One question now is worth more than a strange failure in the middle of a demo. Where there
    # is not a kubectl yet, `make demo` builds one and asks then.
    if "k8s" not in lacking(cluster):
        cluster.kubectl_run("version", "-o", "json", "--request-timeout=10s")
    return cluster


def _from_kind() -> clusters.Cluster:
    if shutil.which("kind") is None:
        raise errors.ToolError("MENS_CLUSTER=kind: kind is not on PATH")
    listed = subprocess.run(
        ["kind", "get", "clusters"], capture_output=True, text=True, check=False
    )
    names = listed.stdout.split()
    if listed.returncode != 0 or not names:
        raise errors.ToolError(
            "MENS_CLUSTER=kind: no kind cluster exists: `kind create cluster` makes one"
        )
    run = folders.run(f"kind-{names[0]}")
    run.mkdir(parents=True, exist_ok=True)
    command = ["kind", "get", "kubeconfig", "--name", names[0]]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        raise errors.ToolError(f"{' '.join(command)}: {shown.stderr.strip()}")
    pki.write_kubeconfig(run / "kubeconfig", shown.stdout)
    return _record(f"kind-{names[0]}", clusters.Kind.KIND, run / "kubeconfig")


def _record(name: str, kind: clusters.Kind, kubeconfig: Path) -> clusters.Cluster:
    return clusters.Cluster(
        name=name,
        kind=kind,
        kubeconfig=kubeconfig,
        kubectl=_client("kubectl"),
        helm=_client("helm"),
        run=folders.run(name),
        node=True,
        kwok=False,
    )


def _client(name: str) -> Path:
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    built = paths.cache().glob(f"bin/*/{name}")
    return max(built, key=lambda path: path.stat().st_mtime, default=Path(name))


def _ours(files: Sequence[Path]) -> bool:
    # The first file with a current context decides which cluster kubectl asks.
    decisive = (path for path in files if path.is_file() and _CONTEXT.search(path.read_text()))
    first = next(decisive, files[0])
    return first.resolve().is_relative_to(folders.run_root().resolve())


def context(cluster: clusters.Cluster) -> str:
    """Returns the server that the kubeconfig names, for messages."""
    shown = json.loads(cluster.kubectl_run("config", "view", "--minify", "-o", "json"))
    return str(shown["clusters"][0]["cluster"]["server"])
