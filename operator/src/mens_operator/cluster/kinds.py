"""The kinds of objects the operator touches, and how the API server calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Object: TypeAlias = Mapping[str, Any]
"""A Kubernetes object as JSON; plans and manifests know its fields."""


@dataclass(frozen=True, order=True)
class Kind:
    """One namespaced kind."""

    api_version: str
    name: str
    plural: str

    @property
    def root(self) -> str:
        """The first part of each URL of the kind."""
        return (
            f"/api/{self.api_version}"
            if "/" not in self.api_version
            else f"/apis/{self.api_version}"
        )

    def path(self, namespace: str | None, name: str | None = None, sub: str | None = None) -> str:
        """Return the URL path of a collection, an object or a subresource."""
        scope = "" if namespace is None else f"/namespaces/{namespace}"
        tail = "".join(f"/{part}" for part in (name, sub) if part is not None)
        return f"{self.root}{scope}/{self.plural}{tail}"


@dataclass(frozen=True, order=True)
class Key:
    """The address of one object."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name} {self.namespace}/{self.name}"


_GROUP: Final = "mens.vox-lang.org/v1alpha1"
CORPUS: Final = Kind(_GROUP, "MensCorpus", "menscorpora")
TRAINRUN: Final = Kind(_GROUP, "MensTrainRun", "menstrainruns")
SERVE: Final = Kind(_GROUP, "MensServe", "mensserves")
JOB: Final = Kind("batch/v1", "Job", "jobs")
POD: Final = Kind("v1", "Pod", "pods")
DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
SERVICE: Final = Kind("v1", "Service", "services")
EVENT: Final = Kind("events.k8s.io/v1", "Event", "events")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")

RESOURCES: Final = (CORPUS, TRAINRUN, SERVE)
"""What users write and kopf watches."""

CHILDREN: Final = (JOB, POD, DEPLOYMENT, SERVICE)
"""What comes of it and our own watch follows."""

_BY_NAME: Final = {
    (kind.api_version, kind.name): kind for kind in (*RESOURCES, *CHILDREN, EVENT, LEASE)
}


def of(obj: Object) -> Kind:
    """Return the kind of an object; KeyError for one the operator has no business with."""
    return _BY_NAME[(obj["apiVersion"], obj["kind"])]


def key_of(obj: Object) -> Key:
    """Return the address of an object."""
    return Key(of(obj), obj["metadata"]["namespace"], obj["metadata"]["name"])


def version_of(obj: Object) -> int:
    """Return the resourceVersion as a number, so that older events can be told and dropped.

    Clients may compare resourceVersions of one resource since Kubernetes 1.35 (KEP-5504).
    """
    text = obj.get("metadata", {}).get("resourceVersion", "")
    return int(text) if text.isdigit() else 0
