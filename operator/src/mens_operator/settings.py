"""What the environment says, read once at the start."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mens_operator.manifests import platform
from mens_operator.plans import outcomes

_S3: Final = ("MENS_S3_ENDPOINT", "MENS_S3_REGION", "MENS_S3_PATH_STYLE")
"""What pods get as the operator has it; MENS_JOBS_S3_ENDPOINT replaces the endpoint for them."""


class SettingsError(Exception):
    """The environment lacks something or says something that cannot be read."""


@dataclass(frozen=True)
class Settings:
    """The settings of one operator process."""

    namespaces: tuple[str, ...]
    """Namespaces to watch; empty for all."""
    operator_namespace: str
    """Where the Lease lies."""
    identity: str
    """Name of this process among its replicas."""
    lease_name: str
    health_port: int
    kubeconfig: str | None
    """File to connect by; None inside a cluster."""
    installation: platform.Platform
    policy: outcomes.Policy
    log_level: str


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read MENS_* variables; raises SettingsError with the name of the wrong one."""
    images = platform.Images(
        corpus=_required(environ, "MENS_IMAGE_CORPUS"),
        trainer=_required(environ, "MENS_IMAGE_TRAINER"),
        server=_required(environ, "MENS_IMAGE_SERVER"),
        pull_policy=environ.get("MENS_IMAGE_PULL_POLICY") or "IfNotPresent",
    )
    s3 = {name: environ[name] for name in _S3 if environ.get(name)}
    if environ.get("MENS_JOBS_S3_ENDPOINT"):
        s3["MENS_S3_ENDPOINT"] = environ["MENS_JOBS_S3_ENDPOINT"]
    names = environ.get("MENS_NAMESPACES", "")
    in_cluster = "KUBERNETES_SERVICE_HOST" in environ
    return Settings(
        namespaces=tuple(sorted({name.strip() for name in names.split(",") if name.strip()})),
        operator_namespace=environ.get("MENS_OPERATOR_NAMESPACE") or "mens-system",
        identity=environ.get("MENS_IDENTITY") or socket.gethostname(),
        lease_name=environ.get("MENS_LEASE_NAME") or "mens-operator",
        health_port=_number(environ, "MENS_HEALTH_PORT", 8080),
        kubeconfig=None if in_cluster else environ.get("KUBECONFIG") or None,
        installation=platform.Platform(
            images=images,
            bucket=_required(environ, "MENS_OUTPUT_BUCKET"),
            s3_environment=s3,
            s3_secret=environ.get("MENS_S3_SECRET") or None,
            s3_ca_config_map=environ.get("MENS_S3_CA_CONFIGMAP") or None,
            service_account=environ.get("MENS_JOBS_SERVICE_ACCOUNT") or None,
        ),
        policy=outcomes.Policy(
            invalid_input=_backoff(
                environ, "MENS_RETRY_INPUT_SECONDS", outcomes.Policy.invalid_input
            ),
            storage=_backoff(environ, "MENS_RETRY_STORAGE_SECONDS", outcomes.Policy.storage),
            internal_error=_backoff(
                environ, "MENS_RETRY_DEFECT_SECONDS", outcomes.Policy.internal_error
            ),
        ),
        log_level=environ.get("MENS_LOG_LEVEL") or "INFO",
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set: the chart sets it; see the operator's reference.")
    return value


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdigit():
        raise SettingsError(f"{name} is {text!r}: write a whole number.")
    return int(text)


def _backoff(environ: Mapping[str, str], name: str, default: outcomes.Backoff) -> outcomes.Backoff:
    """Read `first:longest` in seconds, with 0 < first <= longest: no pause is a hot loop."""
    text = environ.get(name)
    if not text:
        return default
    wrong = f"{name} is {text!r}: write first:longest in seconds, the first above 0 and at most the"
    wrong += " longest, as 30:600."
    try:
        first, longest = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise SettingsError(wrong) from error
    if not 0 < first <= longest < math.inf:  # also false for nan
        raise SettingsError(wrong)
    return outcomes.Backoff(first, longest)
