"""What every object needs to know about this installation; read from the environment once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Images:
    """Images of the pods, with tags that are never `latest`."""

    corpus: str
    trainer: str
    server: str
    pull_policy: str = "IfNotPresent"


@dataclass(frozen=True)
class Platform:
    """The installation."""

    images: Images
    bucket: str
    """`s3://bucket` under which corpora and runs are published."""
    s3_environment: Mapping[str, str] = field(default_factory=dict)
    """MENS_S3_* as pods get them; credentials are not among them."""
    s3_secret: str | None = None
    """Secret of the resource's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; None
    where pods get credentials by another way (web identity)."""
    s3_ca_config_map: str | None = None
    """ConfigMap of the resource's namespace with `ca.crt` of the store."""
    service_account: str | None = None
    """ServiceAccount of the pods, for web identity; no token of the cluster is mounted."""
