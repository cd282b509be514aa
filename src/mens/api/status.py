"""Parts that the statuses share: artifact, compliance, lineage, progress and conditions."""

from __future__ import annotations

from typing import Annotated

import pydantic

from mens.api import kube


class Artifact(kube.Model):
    """The artifact that a run produced. The operator verified it."""

    uri: Annotated[str, pydantic.Field(max_length=2048)]
    """Folder of the artifact in the object store."""
    digest: kube.Digest
    """SHA-256 digest of the artifact's manifest."""
    size_bytes: kube.Count
    """Total size of the artifact's files in bytes."""


class Compliance(kube.Model):
    """License and obligations of the artifact."""

    license_expression: Annotated[str, pydantic.Field(max_length=1024)]
    """SPDX license expression over all inputs."""
    license_class: Annotated[str, pydantic.Field(max_length=64)]
    """The most restrictive license class among all inputs."""
    attribution_required: Annotated[str, pydantic.Field(max_length=16)]
    """Whether use of the artifact requires attribution: Yes, Conditional or No."""
    obligations: Annotated[
        tuple[Annotated[str, pydantic.Field(max_length=128)], ...], pydantic.Field(max_length=128)
    ] = ()
    """Identifiers of the obligations. The manifest contains their texts."""


class LineageEntry(kube.Model):
    """One input of an artifact."""

    role: Annotated[str, pydantic.Field(max_length=32)]
    """Role of the input: Base, Corpus or Source."""
    name: Annotated[str, pydantic.Field(max_length=253)]
    """Name of the input."""
    digest: Annotated[str, pydantic.Field(max_length=128)]
    """Digest of the input's manifest, or of its documents."""
    license_expression: Annotated[str, pydantic.Field(max_length=1024)]
    """SPDX license expression of the input."""


class Progress(kube.Model):
    """Progress of the current attempt."""

    stage: Annotated[str, pydantic.Field(max_length=64)]
    """The current stage, for example `Training`."""
    step: kube.Count = 0
    """Completed units of the stage: files or optimizer steps."""
    total_steps: kube.Count = 0
    """Total units of the stage; 0 while unknown."""
    samples_seen: kube.Count = 0
    """Number of rows read or trained on."""
    tokens_seen: kube.Count = 0
    """Number of supervised tokens trained on."""
    loss: Annotated[str, pydantic.Field(max_length=32)] | None = None
    """Loss of the last optimizer step, in nats per token."""
    loss_ema: Annotated[str, pydantic.Field(max_length=32)] | None = None
    """Exponential moving average of the loss."""
    tokens_per_second: Annotated[str, pydantic.Field(max_length=32)] | None = None
    """Throughput over the last steps, in tokens per second."""
    eta_seconds: kube.Seconds | None = None
    """Estimated seconds until the stage ends."""


class Status(kube.Model):
    """Fields of the status of every resource."""

    observed_generation: kube.Count = 0
    """Generation of the spec that this status describes."""
    conditions: kube.Conditions = ()
    """Conditions of the resource, one for each type. The reference lists all types and reasons."""


class RunStatus(Status):
    """Fields of the status of every run: MensCorpus and MensTrainRun."""

    attempts: kube.Count = 0
    """Number of attempts that count toward `spec.retry.limit`."""
    job_name: Annotated[str, pydantic.Field(max_length=63)] | None = None
    """Name of the Job of the current or last attempt."""
    next_attempt_time: kube.Timestamp | None = None
    """Earliest time of the next attempt."""
    start_time: kube.Timestamp | None = None
    """Time when the first attempt of this generation started."""
    completion_time: kube.Timestamp | None = None
    """Time when the run finished."""
    progress: Progress | None = None
    """Progress of the current attempt."""
    artifact: Artifact | None = None
    """The artifact that the run produced."""
    compliance: Compliance | None = None
    """License and obligations of the artifact."""
    lineage: Annotated[tuple[LineageEntry, ...], pydantic.Field(max_length=128)] = ()
    """Inputs of the artifact."""
