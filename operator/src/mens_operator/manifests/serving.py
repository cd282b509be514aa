"""Deployment and Service of an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mens.api import kube, spec
from mens.runtime import jobs
from mens_operator.manifests import names, platform, pods

PORT: Final = 8000
_KIND: Final = "MensServe"


def selector(metadata: kube.ObjectMeta) -> dict[str, str]:
    """Return the labels by which Deployment, Service and autoscalers find the pods."""
    return {
        "app.kubernetes.io/managed-by": names.MANAGER,
        names.KIND_LABEL: _KIND,
        names.UID_LABEL: metadata.uid,
    }


def deployment(
    *,
    installation: platform.Platform,
    metadata: kube.ObjectMeta,
    work: jobs.ServeJob,
    resources: spec.Resources,
    replicas: int,
) -> dict[str, Any]:
    """Return the Deployment; a new configuration replaces pods one by one, none before its heir."""
    labels = names.labels(kind=_KIND, resource=metadata.name, uid=metadata.uid)
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": 1800,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "selector": {"matchLabels": selector(metadata)},
        "template": pods.template(
            installation=installation,
            image=installation.images.server,
            module="mens_server",
            job=work,
            resources=resources,
            labels=labels,
            restart_policy="Always",
            extra=_container(work.port),
            grace_seconds=60,
        ),
    }
    return _marked(_object("apps/v1", "Deployment", metadata, labels, spec))


def service(*, metadata: kube.ObjectMeta, port: int = PORT) -> dict[str, Any]:
    """Return the Service."""
    labels = names.labels(kind=_KIND, resource=metadata.name, uid=metadata.uid)
    spec = {
        "type": "ClusterIP",
        "selector": selector(metadata),
        "ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}],
    }
    return _marked(_object("v1", "Service", metadata, labels, spec))


def endpoint(metadata: kube.ObjectMeta, port: int = PORT) -> str:
    """Return the address inside the cluster."""
    return f"http://{names.service(metadata.name)}.{metadata.namespace}.svc:{port}"


def _container(port: int) -> dict[str, Any]:
    """Loading a large model takes minutes: the startup probe allows half an hour."""
    probe = {"httpGet": {"path": "/health", "port": port}, "timeoutSeconds": 5}
    ready = {"httpGet": {"path": "/ready", "port": port}, "timeoutSeconds": 5}
    return {
        "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
        "startupProbe": {**probe, "periodSeconds": 5, "failureThreshold": 360},
        "livenessProbe": {**probe, "periodSeconds": 20, "failureThreshold": 6},
        "readinessProbe": {**ready, "periodSeconds": 3, "failureThreshold": 2},
    }


def _object(
    api_version: str,
    kind: str,
    metadata: kube.ObjectMeta,
    labels: dict[str, str],
    spec: dict[str, Any],
) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "namespace": metadata.namespace,
            "name": names.service(metadata.name),
            "labels": labels,
            "ownerReferences": names.owner(kube.API_VERSION, _KIND, metadata.name, metadata.uid),
        },
        "spec": spec,
    }


def _marked(obj: dict[str, Any]) -> dict[str, Any]:
    notes = {names.HASH_ANNOTATION: names.content_hash(obj)}
    return {**obj, "metadata": {**obj["metadata"], "annotations": notes}}


def scaled(there: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """Return an object that is there with other replicas, whatever it was built from.

    Without the mark of what it was built from: that is compared again when that can be.
    """
    kept = ("namespace", "name", "labels", "ownerReferences")
    meta = {name: there["metadata"][name] for name in kept if name in there["metadata"]}
    spec = {**_without_nulls(there["spec"]), "replicas": replicas}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def _without_nulls(value: Any) -> Any:
    """Leave out what the API server writes as null: nobody may apply that."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def hash_of(obj: Mapping[str, Any]) -> str:
    """Return the hash that an object was marked with."""
    return str(obj["metadata"]["annotations"][names.HASH_ANNOTATION])
