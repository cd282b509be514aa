"""The pod that all three programs run in: restricted, offline, with a scratch folder."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from mens.api import spec
from mens.runtime import jobs
from mens_operator.manifests import platform

CONTAINER: Final = "main"
"""Name of the only container."""
USER: Final = 10001
"""User and group of all images."""
SCRATCH: Final = "/scratch"
_TERMINATION_LOG: Final = "/dev/termination-log"
_CA_FOLDER: Final = "/etc/mens/s3-ca"
_TMP_LIMIT: Final = "2Gi"
"""HOME and the temporary folder of torch's caches: megabytes in practice."""


def threads(resources: spec.Resources) -> int:
    """Return how many threads to compute with: as said, else whole processors, at least one."""
    return resources.threads or max(1, int(_processors(resources.cpu)))


def template(
    *,
    installation: platform.Platform,
    image: str,
    module: str,
    job: jobs.CorpusJob | jobs.TrainJob | jobs.ServeJob,
    resources: spec.Resources,
    labels: dict[str, str],
    restart_policy: str,
    extra: dict[str, Any] | None = None,
    grace_seconds: int = 120,
) -> dict[str, Any]:
    """Return the pod template; `extra` adds ports and probes to the container."""
    container = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": installation.images.pull_policy,
        "command": ["python", "-m", module],
        "env": _environment(installation, job, resources),
        "resources": _resources(resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": _TERMINATION_LOG,
        # A program that dies before it can write the log still leaves its last lines.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(installation),
        **(extra or {}),
    }
    spec: dict[str, Any] = {
        "restartPolicy": restart_policy,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": _volumes(installation, resources),
    }
    if installation.service_account:
        spec["serviceAccountName"] = installation.service_account
    if resources.gpu and resources.gpu.product:
        spec["nodeSelector"] = {"nvidia.com/gpu.product": resources.gpu.product}
    return {"metadata": {"labels": labels}, "spec": spec}


def _environment(
    installation: platform.Platform,
    job: jobs.CorpusJob | jobs.TrainJob | jobs.ServeJob,
    resources: spec.Resources,
) -> list[dict[str, Any]]:
    computing = str(threads(resources))
    plain = {
        jobs.JOB_ENV: job.model_dump_json(by_alias=True, exclude_none=True),
        jobs.SCRATCH_ENV: SCRATCH,
        jobs.TERMINATION_ENV: _TERMINATION_LOG,
        "HOME": "/tmp",  # noqa: S108  # an emptyDir of this pod alone
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": computing,
        **installation.s3_environment,
    }
    if installation.s3_ca_config_map:
        plain["MENS_S3_CA_BUNDLE"] = f"{_CA_FOLDER}/ca.crt"
    entries: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in sorted(plain.items())
    ]
    return entries + _credentials(installation.s3_secret)


def _credentials(secret: str | None) -> list[dict[str, Any]]:
    if secret is None:
        return []
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    ]


def _resources(resources: spec.Resources) -> dict[str, Any]:
    """CPU is a request only: a throttled thread stalls all that wait for it."""
    limits = {"memory": resources.memory}
    if resources.gpu:
        limits[resources.gpu.resource_name] = str(resources.gpu.count)
    return {"requests": {"cpu": resources.cpu, **limits}, "limits": limits}


def _mounts(installation: platform.Platform) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # an emptyDir of this pod alone
        {"name": "scratch", "mountPath": SCRATCH},
    ]
    if installation.s3_ca_config_map:
        mounts.append({"name": "s3-ca", "mountPath": _CA_FOLDER, "readOnly": True})
    return mounts


def _volumes(
    installation: platform.Platform, resources: spec.Resources
) -> Sequence[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {"sizeLimit": _TMP_LIMIT}},
        {"name": "scratch", "emptyDir": {"sizeLimit": resources.scratch}},
    ]
    if installation.s3_ca_config_map:
        volumes.append({"name": "s3-ca", "configMap": {"name": installation.s3_ca_config_map}})
    return volumes


_SCALES: Final = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "": Decimal(1),
}


def _processors(quantity: str) -> Decimal:
    """Return a CPU quantity as a number; suffixes that no CPU has count as one processor."""
    digits = quantity.rstrip("mkMGTPEi")
    scale = _SCALES.get(quantity[len(digits) :])
    return Decimal(digits) * scale if scale is not None else Decimal(1)
