"""Install the platform on a cluster and reach its store: used by the demo and by the e2e tests."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping

from hack.demo import kubectl
from hack.setup import environment
from mens.artifacts import s3

SYSTEM = "mens-system"
"""Namespace of the operator."""
RELEASE = "mens"
"""Name of the Helm release."""
STORE = "service/mens-dev-store"
"""The development store's service."""
STORE_PORT = 8333
"""Its S3 port."""
SECRET = "mens-s3"
"""The Secret with storage credentials: made by the chart, copied to where jobs run."""


def install(kube: kubectl.Kubectl, references: Mapping[str, str]) -> None:
    """Install or upgrade the chart, and wait until the operator and the store are ready."""
    chart = environment.ROOT / "charts" / "mens-operator"
    values = environment.ROOT / "hack" / "demo" / "values.yaml"
    words = ["upgrade", "--install", RELEASE, str(chart), "-n", SYSTEM, "--create-namespace"]
    words += ["-f", str(values), "--wait", "--timeout", "180s"]
    for name, reference in references.items():
        words += ["--set", f"images.{name}={reference}"]
    kube.helm(*words)


def add_namespace(kube: kubectl.Kubectl, name: str) -> None:
    """Make a namespace with restricted pod security, and give its jobs the store's credentials."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    metadata = {"name": SECRET, "namespace": name}
    kube.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _credentials(kube)}
    )


def _credentials(kube: kubectl.Kubectl) -> dict[str, str]:
    found = kube.get(SYSTEM, "secret", SECRET)
    if found is None:
        raise kubectl.DemoError(f"the chart made no Secret {SECRET} in {SYSTEM}")
    return dict(found["data"])


@contextlib.contextmanager
def store(kube: kubectl.Kubectl) -> Iterator[s3.S3Store]:
    """The store inside the cluster, through a forwarded port."""
    keys = {key: base64.b64decode(value).decode() for key, value in _credentials(kube).items()}
    with kube.forward(SYSTEM, STORE, STORE_PORT) as address:
        yield s3.from_env({**keys, "MENS_S3_ENDPOINT": f"http://{address}"})
