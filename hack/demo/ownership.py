"""On a cluster that is not ours: touch only what an earlier demo made, and take it away again.

A platform team's cluster may run Mens for real. The demo would overwrite its release with a
development store and quick retries, so it looks first. Standard library only: `make demo-down`
works without the environment.
"""

from __future__ import annotations

import json

from hack.demo import console, kubectl

SYSTEM = "mens-system"
"""Namespace of the operator."""
RELEASE = "mens"
"""Name of the Helm release."""
NAMESPACE = "demo"
"""Namespace of the three resources."""
DESCRIPTION = "Installed by make demo"
"""What the release says of itself; an upgrade by anybody else changes it."""
LABEL = {"mens.vox-lang.org/made-by": "demo"}
"""Marks a namespace that the demo made and may delete."""


def require(kube: kubectl.Kubectl) -> None:
    """Raise DemoError if the cluster has a Mens, or a namespace of our name, that is not ours."""
    for release in _releases(kube):
        if not _ours(kube, release):
            raise kubectl.DemoError(
                f"this cluster has Mens already: release {release['name']} in namespace "
                f"{release['namespace']}, which the demo did not install and will not overwrite. "
                "Use another cluster, or unset KUBECONFIG for the one on this machine"
            )
    found = json.loads(kube("get", "namespaces", "-o", "json"))["items"]
    for namespace in found:
        labels = namespace["metadata"].get("labels", {})
        if namespace["metadata"]["name"] == NAMESPACE and not LABEL.items() <= labels.items():
            raise kubectl.DemoError(
                f"this cluster has a namespace {NAMESPACE} that the demo did not make and will not "
                "change. Use another cluster, or unset KUBECONFIG for the one on this machine"
            )


def remove(kube: kubectl.Kubectl) -> None:
    """Take away what a demo made on a cluster that stays; definitions stay, as with any Helm."""
    require(kube)
    kube("delete", "namespace", NAMESPACE, "--ignore-not-found")
    if _releases(kube):
        kube.helm("uninstall", RELEASE, "-n", SYSTEM, "--wait")
        kube("delete", "namespace", SYSTEM)
    console.say(
        "The demo's release and namespaces are gone; the cluster is yours and stays, and so do the "
        "definitions: `kubectl delete -f crds/` removes them with every resource of theirs."
    )


def _releases(kube: kubectl.Kubectl) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads(kube.helm("list", "-A", "-o", "json"))
    return [one for one in listed if one["chart"].startswith("mens-operator-")]


def _ours(kube: kubectl.Kubectl, release: dict[str, str]) -> bool:
    if (release["name"], release["namespace"]) != (RELEASE, SYSTEM):
        return False
    said = json.loads(kube.helm("status", RELEASE, "-n", SYSTEM, "-o", "json"))
    return bool(said["info"]["description"] == DESCRIPTION)
