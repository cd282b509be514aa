"""Clusters that were there before us: the user's KUBECONFIG, or a kind cluster."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from hack.cluster import clusters, paths, pki
from hack.cluster.errors import ClusterError


def find(environment: Mapping[str, str] | None = None) -> clusters.Cluster | None:
    """Returns the cluster the user has; None when the embedded one is to be used.

    KUBECONFIG wins over kind. MENS_CLUSTER=embedded turns both off, and a KUBECONFIG that is one
    of ours does not count: it is set in `shell`.
    """
    environment = os.environ if environment is None else environment
    if environment.get("MENS_CLUSTER") == "embedded":
        return None
    configured = environment.get("KUBECONFIG", "")
    if configured and not _ours(Path(configured)):
        return _from_kubeconfig(Path(configured))
    return None if configured else _from_kind()


def _from_kubeconfig(path: Path) -> clusters.Cluster:
    if not path.exists():
        raise ClusterError(
            f"KUBECONFIG={path} does not exist; unset it or set MENS_CLUSTER=embedded"
        )
    cluster = _record("external", clusters.Kind.EXTERNAL, path)
    # One question now is worth more than a strange failure in the middle of a demo.
    cluster.kubectl_run("version", "-o", "json", "--request-timeout=10s")
    return cluster


def _from_kind() -> clusters.Cluster | None:
    if shutil.which("kind") is None:
        return None
    listed = subprocess.run(
        ["kind", "get", "clusters"], capture_output=True, text=True, check=False
    )
    names = listed.stdout.split()
    if listed.returncode != 0 or not names:
        return None
    run = paths.run(f"kind-{names[0]}")
    run.mkdir(parents=True, exist_ok=True)
    command = ["kind", "get", "kubeconfig", "--name", names[0]]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pki.write_kubeconfig(run / "kubeconfig", text)
    return _record(f"kind-{names[0]}", clusters.Kind.KIND, run / "kubeconfig")


def _record(name: str, kind: clusters.Kind, kubeconfig: Path) -> clusters.Cluster:
    return clusters.Cluster(
        name=name,
        kind=kind,
        kubeconfig=kubeconfig,
        kubectl=_client("kubectl"),
        helm=_client("helm"),
        run=paths.run(name),
        node=True,
        kwok=False,
    )


def _client(name: str) -> Path:
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    built = sorted(paths.cache().glob(f"bin/*/{name}"))
    if built:
        return built[-1]
    raise ClusterError(f"no {name} on PATH: `python -m hack.cluster build k8s helm` builds both")


def _ours(path: Path) -> bool:
    return path.resolve().is_relative_to(paths.run_root().resolve())


def context(cluster: clusters.Cluster) -> str:
    """Returns which server the kubeconfig names, for the sentence that says what is used."""
    shown = json.loads(cluster.kubectl_run("config", "view", "--minify", "-o", "json"))
    return str(shown["clusters"][0]["cluster"]["server"])
