"""Deterministic names and labels: the same inputs always give the same object.

A name says resource, inputs and attempt; that makes creating idempotent over crashes and stale
caches. Law: `parse_job(job(name, key, n)) == (key, n)` and every name has at most 63 characters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

LIMIT: Final = 63
"""Longest name of a Service, and of a label's value: Jobs put their name into one."""
KEY_DIGITS: Final = 10
"""Hex digits of a key: 40 bits, within one resource."""
PREFIX: Final = "mens.vox-lang.org"
UID_LABEL: Final = f"{PREFIX}/uid"
"""Label of every child and of its pods: UID of the resource that they belong to."""
KIND_LABEL: Final = f"{PREFIX}/kind"
NAME_LABEL: Final = f"{PREFIX}/name"
KEY_LABEL: Final = f"{PREFIX}/output-key"
"""Label of a Job: hash of spec and inputs, which names its output folder."""
SPEC_HASH_LABEL: Final = f"{PREFIX}/spec-hash"
"""Label of a Job: hash of the spec fields that its output depends on."""
POD_SETTINGS_HASH_LABEL: Final = f"{PREFIX}/pod-settings-hash"
"""Label of a Job: hash of the spec fields that change how its pod runs, but not its output."""
ATTEMPT_LABEL: Final = f"{PREFIX}/attempt"
HASH_ANNOTATION: Final = f"{PREFIX}/applied-hash"
"""Annotation of an applied object: hash of the manifest that it was built from."""
PAUSE_ANNOTATION: Final = f"{PREFIX}/reconcile"
"""Annotation of a resource; the value `disabled` stops reconciliation."""
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
MANAGER: Final = "mens-operator"

_JOB: Final = re.compile(rf"^.*-([0-9a-f]{{{KEY_DIGITS}}})-([1-9][0-9]*)$")


def key(*parts: Any) -> str:
    """Return a short hash of JSON values, the same in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def job(resource: str, inputs: str, attempt: int) -> str:
    """Return the name of the Job of an attempt."""
    tail = f"-{inputs}-{attempt}"
    return _label(resource)[: LIMIT - len(tail)].rstrip("-") + tail


def parse_job(name: str | None) -> tuple[str, int] | None:
    """Return key and attempt of a Job's name, None if it is not one of ours."""
    match = _JOB.match(name or "")
    return (match[1], int(match[2])) if match else None


def service(resource: str) -> str:
    """Return the name of Deployment and Service: the resource's own, where a Service may have it.

    A Service's name begins with a letter, has no dots and at most 63 characters.
    """
    stem = _label(resource)
    stem = stem if stem[:1].isalpha() else f"m-{stem}"
    if stem == resource and len(stem) <= LIMIT:
        return stem
    tail = f"-{key(resource)}"
    return stem[: LIMIT - len(tail)].rstrip("-") + tail


def labels(*, kind: str, resource: str, uid: str) -> dict[str, str]:
    """Return the labels of every child and of its pods."""
    return {
        "app.kubernetes.io/managed-by": MANAGER,
        "app.kubernetes.io/part-of": "mens",
        "app.kubernetes.io/component": kind.lower(),
        KIND_LABEL: kind,
        NAME_LABEL: resource[:LIMIT].rstrip("-."),
        UID_LABEL: uid,
    }


def owner(api_version: str, kind: str, resource: str, uid: str) -> list[dict[str, Any]]:
    """Return the controller reference by which the garbage collector finds a child.

    Without blockOwnerDeletion: setting that needs a permission on the owner's finalizers.
    """
    reference = {"apiVersion": api_version, "kind": kind, "name": resource, "uid": uid}
    return [{**reference, "controller": True}]


def content_hash(obj: Mapping[str, Any]) -> str:
    """Return the hash that tells whether an object has to be applied again.

    Replicas stay out: they are compared by themselves, since they may change alone.
    """
    spec = {name: value for name, value in obj.get("spec", {}).items() if name != "replicas"}
    return key({name: value for name, value in obj.items() if name != "status"} | {"spec": spec})


def _label(resource: str) -> str:
    return resource.replace(".", "-")
