"""On a cluster that is not ours: touch only what an earlier demo made, and take it away again.

A platform team's cluster may run Mens for real. The demo would overwrite its release with a
development store and quick retries, so it looks first. Standard library only: `make demo-down`
works without the environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hack.demo import console, kubectl

SYSTEM = "mens-system"
"""Namespace of the operator."""
RELEASE = "mens"
"""Name of the Helm release."""
NAMESPACE = "demo"
"""Namespace of the three resources."""
LABEL = {"mens.vox-lang.org/made-by": "demo"}
"""Marks a namespace that the demo made and may delete, with the release in it."""
DESCRIPTION = "Installed by make demo"
"""Description of the demo's own release; an upgrade by somebody else changes it."""
_STATES = ("--deployed", "--failed", "--pending", "--superseded", "--uninstalling")
"""Helm 3 lists only the first two unless asked."""
_ELSEWHERE = "Use another cluster, or unset KUBECONFIG for the one on this machine"


def require(kube: kubectl.Kubectl) -> None:
    """Raise DemoError if the cluster has a Mens, or a namespace of our names, that is not ours."""
    made = {name: _marked(kube, name) for name in (SYSTEM, NAMESPACE)}
    for release in releases(kube):
        if not (is_ours(release) and made[SYSTEM] and _untouched(kube, release)):
            raise kubectl.DemoError(
                f"this cluster has Mens already: release {release['name']} in namespace "
                f"{release['namespace']}, which the demo did not install and will not overwrite. "
                + _ELSEWHERE
            )
    for name, marked in made.items():
        if marked is False:
            raise kubectl.DemoError(
                f"this cluster has a namespace {name} that the demo did not make and will not "
                f"change. {_ELSEWHERE}"
            )


def claim(kube: kubectl.Kubectl, name: str, labels: Mapping[str, str] | None = None) -> None:
    """Make a namespace that is known as ours from then on."""
    metadata = {"name": name, "labels": {**(labels or {}), **LABEL}}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def remove(kube: kubectl.Kubectl) -> None:
    """Take away what a demo made on a cluster that stays; definitions stay, as with any Helm."""
    require(kube)
    kube("delete", "namespace", NAMESPACE, "--ignore-not-found")
    if releases(kube):
        kube.helm("uninstall", RELEASE, "-n", SYSTEM, "--wait")
    kube("delete", "namespace", SYSTEM, "--ignore-not-found")
    console.say(
        "The demo's release and namespaces are gone; the cluster is yours and stays, and so do the "
        "definitions: `kubectl delete -f crds/` removes them with every resource of theirs."
    )


def releases(kube: kubectl.Kubectl) -> list[dict[str, Any]]:
    """Every Mens that Helm has installed, is installing, or failed to."""
    listed: list[dict[str, Any]] = json.loads(kube.helm("list", "-A", *_STATES, "-o", "json"))
    return [one for one in listed if one["chart"].startswith("mens-operator-")]


def is_ours(release: Mapping[str, Any]) -> bool:
    """Whether it has the name and the place of the demo's release."""
    return (release["name"], release["namespace"]) == (RELEASE, SYSTEM)


def _untouched(kube: kubectl.Kubectl, release: Mapping[str, Any]) -> bool:
    # Helm writes a reason of its own over the description of whatever did not end well.
    if release["status"] != "deployed":
        return True
    history = json.loads(kube.helm("history", RELEASE, "-n", SYSTEM, "--max", "1", "-o", "json"))
    return bool(history[-1]["description"] == DESCRIPTION)


def _marked(kube: kubectl.Kubectl, name: str) -> bool | None:
    """Whether a namespace has the demo's label; None if the namespace does not exist."""
    found = kube.get("", "namespace", name)
    return None if found is None else LABEL.items() <= found["metadata"]["labels"].items()
