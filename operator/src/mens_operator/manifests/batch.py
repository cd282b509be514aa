"""Jobs: one attempt of a run, never repeated by Kubernetes itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mens.api import kube, spec
from mens.runtime import jobs
from mens_operator.manifests import names, platform, pods


@dataclass(frozen=True)
class Attempt:
    """Identity of one Job among the Jobs of a run."""

    key: str
    """Hash of spec and inputs; names the output folder."""
    spec_hash: str
    """Hash of the spec fields that the output depends on."""
    pod_settings_hash: str
    """Hash of the spec fields that change how the pod runs, but not its output."""
    number: int
    """Counts from 1 for each key."""

    @property
    def labels(self) -> dict[str, str]:
        """Labels that identify the attempt on its Job."""
        return {
            names.KEY_LABEL: self.key,
            names.SPEC_HASH_LABEL: self.spec_hash,
            names.POD_SETTINGS_HASH_LABEL: self.pod_settings_hash,
            names.ATTEMPT_LABEL: str(self.number),
        }


def job(
    *,
    installation: platform.Platform,
    kind: str,
    metadata: kube.ObjectMeta,
    image: str,
    module: str,
    work: jobs.CorpusJob | jobs.TrainJob,
    resources: spec.Resources,
    attempt: Attempt,
    deadline_seconds: int | None,
    queue: str | None = None,
) -> dict[str, Any]:
    """Return the Job of an attempt.

    `spec.suspend` is never set: with a queue it is Kueue's, and without one a suspended run has
    no Job at all.
    """
    labels = names.labels(kind=kind, resource=metadata.name, uid=metadata.uid)
    spec: dict[str, Any] = {
        # The operator owns attempts: it alone knows a full disk from a wrong input.
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        # Never two pods on one output folder.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                }
            ]
        },
        "template": pods.template(
            installation=installation,
            image=image,
            module=module,
            job=work,
            resources=resources,
            labels=labels,
            restart_policy="Never",
        ),
    }
    if deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = deadline_seconds
    marks = {**attempt.labels, **({names.QUEUE_LABEL: queue} if queue else {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": metadata.namespace,
            "name": names.job(metadata.name, attempt.key, attempt.number),
            "labels": {**labels, **marks},
            "ownerReferences": names.owner(kube.API_VERSION, kind, metadata.name, metadata.uid),
        },
        "spec": spec,
    }
