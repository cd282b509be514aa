"""Install the platform on a cluster and reach its store: used by the demo and by the e2e tests."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from hack.demo import console, kubectl, ownership
from hack.setup import environment
from hack.support import paths
from mens.artifacts import s3

SYSTEM = ownership.SYSTEM
"""Namespace of the operator."""
STORE = "service/mens-dev-store"
"""The development store's service."""
STORE_PORT = 8333
"""Its S3 port."""
SECRET = "mens-s3"
"""The Secret with storage credentials: made by the chart, copied to where jobs run."""


def install(kube: kubectl.Kubectl, references: Mapping[str, str]) -> None:
    """Install or upgrade the chart, and wait until the operator and the store are ready."""
    chart = paths.REPOSITORY / "charts" / "mens-operator"
    values = paths.REPOSITORY / "hack" / "demo" / "values.yaml"
    ownership.claim(kube, SYSTEM)
    settle(kube)
    words = ["upgrade", "--install", ownership.RELEASE, str(chart), "-n", SYSTEM]
    words += ["-f", str(values), "--wait", "--timeout", "180s"]
    words += ["--description", ownership.DESCRIPTION]
    for name, reference in references.items():
        words += ["--set", f"images.{name}={reference}"]
    with console.waiting("helm upgrade", lambda: _pods(kube)):
        kube.helm(*words)


def settle(kube: kubectl.Kubectl) -> None:
    """Undo what a killed Helm left half done: it would refuse every later upgrade."""
    for release in ownership.releases(kube):
        if not ownership.is_ours(release):
            continue
        where = (ownership.RELEASE, "-n", SYSTEM)
        if release["status"] in ("pending-upgrade", "pending-rollback"):
            kube.helm("rollback", *where, "--description", ownership.DESCRIPTION)
        elif release["status"] in ("pending-install", "uninstalling"):
            kube.helm("uninstall", *where, "--wait")


def _pods(kube: kubectl.Kubectl) -> str:
    """What Helm waits for, as one line."""
    shown = kube("-n", SYSTEM, "get", "pods", "--no-headers", check=False).splitlines()
    return "; ".join(" ".join(line.split()[:3]) for line in shown) or "no pods yet"


def add_namespace(kube: kubectl.Kubectl, name: str) -> None:
    """Make a namespace with restricted pod security, and give its jobs the store's credentials."""
    ownership.claim(kube, name, {"pod-security.kubernetes.io/enforce": "restricted"})
    metadata = {"name": SECRET, "namespace": name}
    kube.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _credentials(kube)}
    )


def _credentials(kube: kubectl.Kubectl) -> dict[str, str]:
    found = kube.get(SYSTEM, "secret", SECRET)
    if found is None:
        raise kubectl.DemoError(f"the chart made no Secret {SECRET} in {SYSTEM}")
    return dict(found["data"])


@dataclasses.dataclass(frozen=True)
class Storage:
    """The store inside the cluster, as it is reached from here."""

    environ: Mapping[str, str]
    """Environment that `mens` needs to reach it."""
    store: s3.S3Store
    """An open client."""


@contextlib.contextmanager
def storage(kube: kubectl.Kubectl) -> Iterator[Storage]:
    """Forward a port to the store for a while."""
    _reach_directly("127.0.0.1")
    keys = {key: base64.b64decode(value).decode() for key, value in _credentials(kube).items()}
    with kube.forward(SYSTEM, STORE, STORE_PORT) as address:
        environ = {**keys, "MENS_S3_ENDPOINT": f"http://{address}"}
        yield Storage(environ, s3.from_env(environ))


def _reach_directly(host: str) -> None:
    """No proxy of the environment may come between us and an address of this very machine."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [each for each in os.environ.get(name, "").split(",") if each]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, host]))


@dataclasses.dataclass(frozen=True)
class Upstream:
    """Where a base model comes from."""

    family: str
    """Toolset of the model."""
    model_id: str
    """Its name where it was published."""
    revision: str
    """Its version there."""


def import_model(
    storage: Storage, folder: Path, uri: str, upstream: Upstream, license_file: Path, *more: str
) -> None:
    """`mens model import`, as a user would type it."""
    command = [str(environment.VENV / "bin" / "mens"), "model", "import", str(folder), uri]
    command += ["--family", upstream.family, "--model-id", upstream.model_id]
    command += ["--revision", upstream.revision, "--license-file", str(license_file), *more]
    with console.waiting("mens model import"):
        done = subprocess.run(
            command,
            env={**os.environ, **storage.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise kubectl.DemoError(f"{' '.join(command)}\n{done.stdout[-2000:]}")
