"""Clusters that were there before us: the user's KUBECONFIG, or a kind cluster."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from hack.cluster import clusters, paths, pki
from hack.cluster.errors import ClusterError

CHOICES = ("embedded", "kubeconfig", "kind")
"""Values of MENS_CLUSTER: ours on this machine, the one KUBECONFIG names, the first of kind's."""


def find(environment: Mapping[str, str] | None = None) -> clusters.Cluster | None:
    """Returns the cluster the user names; None when the embedded one is to be used.

    MENS_CLUSTER decides: `embedded`, `kubeconfig` or `kind`. Without it a KUBECONFIG is used, but
    not one of ours (it is set in `shell`), and not a kind cluster that merely happens to be there.
    """
    environment = os.environ if environment is None else environment
    configured = environment.get("KUBECONFIG", "")
    wanted = environment.get("MENS_CLUSTER", "")
    if wanted not in ("", *CHOICES):
        raise ClusterError(f"MENS_CLUSTER={wanted}: choose one of {', '.join(CHOICES)}")
    if wanted == "kind":
        return _from_kind()
    if wanted == "embedded" or not configured or _ours(Path(configured)):
        if wanted == "kubeconfig":
            raise ClusterError("MENS_CLUSTER=kubeconfig: set KUBECONFIG to the file to use")
        return None
    return _from_kubeconfig(Path(configured))


def isolate(environment: MutableMapping[str, str]) -> None:
    """Takes the user's cluster out of an environment unless MENS_CLUSTER asks for it by name.

    Tests change definitions, cut the store off and uninstall: a KUBECONFIG that a shell exports
    for other work is no consent to that.
    """
    if environment.get("MENS_CLUSTER") not in ("kubeconfig", "kind"):
        environment["MENS_CLUSTER"] = "embedded"
        environment.pop("KUBECONFIG", None)


def _from_kubeconfig(path: Path) -> clusters.Cluster:
    if not path.exists():
        raise ClusterError(
            f"KUBECONFIG={path} does not exist; unset it or set MENS_CLUSTER=embedded"
        )
    cluster = _record("external", clusters.Kind.EXTERNAL, path)
    # One question now is worth more than a strange failure in the middle of a demo.
    cluster.kubectl_run("version", "-o", "json", "--request-timeout=10s")
    return cluster


def _from_kind() -> clusters.Cluster:
    if shutil.which("kind") is None:
        raise ClusterError("MENS_CLUSTER=kind: there is no kind on PATH")
    listed = subprocess.run(
        ["kind", "get", "clusters"], capture_output=True, text=True, check=False
    )
    names = listed.stdout.split()
    if listed.returncode != 0 or not names:
        raise ClusterError("MENS_CLUSTER=kind: there is no kind cluster: `kind create cluster`")
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
