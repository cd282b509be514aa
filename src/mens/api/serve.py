"""MensServe: serves a base model and verified adapters at one endpoint."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic

from mens.api import basemodel, kube, spec, status


class ArtifactSource(kube.Model):
    """The artifact of an adapter in the object store."""

    uri: kube.S3Uri
    """Folder of the artifact."""
    digest: kube.Digest
    """SHA-256 digest of the artifact's manifest. An artifact with another digest is rejected."""


class Adapter(kube.Model):
    """An adapter to serve. Set exactly one of `trainRunRef` and `artifact`."""

    RULES: ClassVar = (kube.one_of("trainRunRef", "artifact"),)

    name: kube.Name
    """Model name that clients request (`model` in a request)."""
    train_run_ref: kube.LocalRef | None = None
    """MensTrainRun whose adapter is served, once the run has succeeded."""
    artifact: ArtifactSource | None = None
    """Artifact to serve."""
    optional: bool = False
    """Allows the endpoint to become ready without this adapter."""


class Limits(kube.Model):
    """Limits of each server. A request that exceeds them is rejected, never truncated."""

    max_batch_size: Annotated[int, pydantic.Field(ge=1, le=256)] = 8
    """Maximum number of requests decoded together in one step."""
    max_queue_length: Annotated[int, pydantic.Field(ge=0, le=1000)] = 64
    """Maximum number of waiting requests; further requests get 429. Each waiting request keeps
    its body, up to 1 MiB, in memory."""
    max_tokens: Annotated[int, pydantic.Field(ge=16, le=1048576)] = 1024
    """Maximum number of tokens in the prompt and the answer of one request."""


class MensServeSpec(kube.Model):
    """Desired endpoint."""

    RULES: ClassVar = (
        kube.Rule(
            "!has(self.adapters) || self.adapters.all(a, a.name != self.baseName)",
            "No adapter may have the name of the base model (baseName); rename one of them.",
            holds=lambda spec: all(adapter.name != spec.base_name for adapter in spec.adapters),
            path=".adapters",
        ),
    )

    base_model: basemodel.BaseModel
    """Base model to serve. Every adapter must have been trained on it."""
    base_name: kube.Name = "base"
    """Model name that clients request for the base model without an adapter."""
    adapters: Annotated[
        tuple[Adapter, ...], pydantic.Field(max_length=64), kube.list_map("name")
    ] = ()
    """Adapters to serve with the base model."""
    replicas: Annotated[int, pydantic.Field(ge=0, le=1000)] = 1
    """Number of desired pods. Autoscalers set it through the scale subresource."""
    limits: Limits = Limits()
    """Limits of each server."""
    resources: spec.Resources = spec.Resources(cpu="2", memory="8Gi")
    """Compute resources of each pod."""


class AdapterStatus(kube.Model):
    """Observed state of one adapter."""

    name: kube.Name
    """Name of the adapter in the spec."""
    ready: bool
    """True when the adapter is verified and part of the running configuration. Stays true while its
    run or the store is unavailable, because the verified adapter is still served."""
    reason: Annotated[str, pydantic.Field(max_length=128)]
    """Reason for the state, one CamelCase word."""
    message: kube.Text = ""
    """Cause and next step for people."""
    uri: kube.S3Uri | None = None
    """Folder of the adapter's artifact. While a newer artifact waits, the one that is served."""
    digest: kube.Digest | None = None
    """SHA-256 digest of that artifact's manifest."""
    train_run: kube.ObjectName | None = None
    """MensTrainRun that produced the adapter. The adapter is still served after the run is
    deleted."""


class MensServeStatus(status.Status):
    """Observed state of the endpoint."""

    replicas: kube.Count = 0
    """Number of existing pods, for the scale subresource."""
    ready_replicas: kube.Count = 0
    """Number of ready pods."""
    selector: kube.Text = ""
    """Label selector of the pods, for the scale subresource."""
    endpoint: kube.ShortText | None = None
    """URL inside the cluster, for example `http://service.namespace.svc:8000`."""
    base_digest: kube.Digest | None = None
    """SHA-256 digest of the base model's manifest."""
    adapters: Annotated[
        tuple[AdapterStatus, ...], pydantic.Field(max_length=64), kube.list_map("name")
    ] = ()
    """Observed state of each adapter in the spec."""


class MensServe(kube.Resource):
    """An OpenAI- and Ollama-compatible endpoint for one base model and its adapters."""

    NAMES: ClassVar = kube.Names(
        kind="MensServe", plural="mensserves", singular="mensserve", short="ms"
    )
    COLUMNS: ClassVar = (
        kube.condition_column("Ready", "Ready"),
        kube.condition_column("Reason", "Ready", "reason"),
        kube.Column("Replicas", ".status.readyReplicas", "Number of ready pods.", type="integer"),
        kube.Column("Endpoint", ".status.endpoint", "URL inside the cluster."),
        kube.AGE,
    )

    SCALE: ClassVar = kube.Scale(".spec.replicas", ".status.replicas", ".status.selector")

    kind: Literal["MensServe"] = "MensServe"
    """Always `MensServe`."""

    spec: MensServeSpec
    """Desired endpoint."""
    status: MensServeStatus = MensServeStatus()
    """Observed state of the endpoint."""
