"""MensServe: a base model and verified adapters behind one endpoint."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic

from mens.api import kube, status, trainrun


class ArtifactSource(kube.Model):
    """An adapter's artifact in the store."""

    uri: kube.S3Uri
    """Its folder."""
    digest: kube.Digest
    """SHA-256 of its manifest; other bytes are refused."""


class Adapter(kube.Model):
    """One adapter: exactly one of `trainRunRef` and `artifact`."""

    RULES: ClassVar = (kube.one_of("trainRunRef", "artifact"),)

    name: kube.Name
    """Name under which clients ask for it (`model` in a request)."""
    train_run_ref: kube.LocalRef | None = None
    """Serve what this run produced, once it has succeeded."""
    artifact: ArtifactSource | None = None
    """Serve this artifact."""
    optional: bool = False
    """Whether the endpoint is ready without it."""


class Limits(kube.Model):
    """Bounds of the server; a request beyond them is refused, never half served."""

    max_batch_size: Annotated[int, pydantic.Field(ge=1, le=256)] = 8
    """Requests decoded together in one step."""
    max_queue_length: Annotated[int, pydantic.Field(ge=0, le=1000)] = 64
    """Requests that may wait; one more gets 429. Each holds its body, up to 1 MiB, in memory."""
    max_tokens: Annotated[int, pydantic.Field(ge=16, le=1048576)] = 1024
    """Most tokens of prompt and answer together in one request."""


class MensServeSpec(kube.Model):
    """What to serve."""

    RULES: ClassVar = (
        kube.Rule(
            "!has(self.adapters) || self.adapters.all(a, a.name != self.baseName)",
            "An adapter must not have the name of the base (baseName): rename one of them.",
            holds=lambda spec: all(adapter.name != spec.base_name for adapter in spec.adapters),
            path=".adapters",
        ),
    )

    base_model: trainrun.BaseModel
    """The model that answers, and that every adapter was trained on."""
    base_name: kube.Name = "base"
    """Name under which clients ask for the base itself."""
    adapters: Annotated[
        tuple[Adapter, ...], pydantic.Field(max_length=64), kube.list_map("name")
    ] = ()
    """Adapters beside it."""
    replicas: Annotated[int, pydantic.Field(ge=0, le=1000)] = 1
    """Pods; written by autoscalers through the scale subresource."""
    limits: Limits = Limits()
    """Bounds of the server."""
    resources: status.Resources = status.Resources(cpu="2", memory="8Gi")
    """What each pod asks for."""


class AdapterStatus(kube.Model):
    """What is known about one adapter."""

    name: kube.Name
    """Its name in the spec."""
    ready: bool
    """Whether it is verified and part of the running configuration; also while its run or the
    store is away, since what was verified goes on being served."""
    reason: Annotated[str, pydantic.Field(max_length=128)]
    """Why, one CamelCase word."""
    message: kube.Text = ""
    """Cause and next step."""
    uri: kube.S3Uri | None = None
    """Folder of its artifact; of the one that is served, while a newer one waits."""
    digest: kube.Digest | None = None
    """SHA-256 of that artifact's manifest."""
    train_run: kube.ObjectName | None = None
    """MensTrainRun that it came from; its artifact is served on when the run is deleted."""


class MensServeStatus(status.Status):
    """What is known about the endpoint."""

    replicas: kube.Count = 0
    """Pods that exist; read by the scale subresource."""
    ready_replicas: kube.Count = 0
    """Pods that answer."""
    selector: kube.Text = ""
    """Label selector of the pods; read by the scale subresource."""
    endpoint: kube.ShortText | None = None
    """Address inside the cluster, `http://service.namespace.svc:8000`."""
    base_digest: kube.Digest | None = None
    """SHA-256 of the base model's manifest."""
    adapters: Annotated[
        tuple[AdapterStatus, ...], pydantic.Field(max_length=64), kube.list_map("name")
    ] = ()
    """One entry for each adapter of the spec."""


class MensServe(kube.Resource):
    """An OpenAI- and Ollama-shaped endpoint: one base, many adapters."""

    NAMES: ClassVar = kube.Names(
        kind="MensServe", plural="mensserves", singular="mensserve", short="ms"
    )
    COLUMNS: ClassVar = (
        kube.condition_column("Ready", "Ready"),
        kube.condition_column("Reason", "Ready", "reason"),
        kube.Column("Replicas", ".status.readyReplicas", "Pods that answer.", type="integer"),
        kube.Column("Endpoint", ".status.endpoint", "Address inside the cluster."),
        kube.AGE,
    )

    SCALE: ClassVar = kube.Scale(".spec.replicas", ".status.replicas", ".status.selector")

    kind: Literal["MensServe"] = "MensServe"
    """Always `MensServe`."""

    spec: MensServeSpec
    """What to serve."""
    status: MensServeStatus = MensServeStatus()
    """What is known about it."""
