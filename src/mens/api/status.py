"""Parts that the three resources share: what a pod asks for, retries, and the common status."""

from __future__ import annotations

from typing import Annotated

import pydantic

from mens.api import kube


class Gpu(kube.Model):
    """Accelerators of one pod."""

    count: Annotated[int, pydantic.Field(ge=1, le=64)] = 1
    """How many."""
    resource_name: kube.ExtendedResource = "nvidia.com/gpu"
    """Name of the extended resource that the device plugin offers."""
    product: kube.LabelValue | None = None
    """Value of the node label `nvidia.com/gpu.product` to ask for; any by default."""


class Resources(kube.Model):
    """What a pod asks for.

    CPU is a request without a limit, since throttling a thread stalls all that wait for it; memory
    is request and limit, since memory beyond the request is taken back by killing.
    """

    cpu: kube.Quantity
    """Processors."""
    memory: kube.Quantity
    """Memory."""
    threads: Annotated[int, pydantic.Field(ge=1, le=1024)] | None = None
    """Threads to compute with; by default the processors asked for, rounded down, at least 1. Say
    more where the node is yours alone and its last processor would otherwise idle."""
    gpu: Gpu | None = None
    """Accelerators; none by default, everything also runs on processors."""
    scratch: kube.Quantity = "20Gi"
    """Largest size of the pod's temporary folder."""


class Retry(kube.Model):
    """How often an attempt that ended in a defect of the program is repeated.

    Preemption does not count, and waiting for an input or the storage has no limit.
    """

    limit: Annotated[int, pydantic.Field(ge=0, le=100)] = 3
    """Repetitions after the first attempt."""


class Artifact(kube.Model):
    """What a run produced, verified by the operator."""

    uri: Annotated[str, pydantic.Field(max_length=2048)]
    """Folder of the artifact."""
    digest: kube.Digest
    """SHA-256 of its manifest."""
    size_bytes: kube.Count
    """Size of all its files."""


class Compliance(kube.Model):
    """What one may do with the artifact."""

    license_expression: Annotated[str, pydantic.Field(max_length=1024)]
    """SPDX expression over all inputs."""
    license_class: Annotated[str, pydantic.Field(max_length=64)]
    """The strictest class among all inputs."""
    attribution_required: Annotated[str, pydantic.Field(max_length=16)]
    """Yes, Conditional or No."""
    obligations: Annotated[
        tuple[Annotated[str, pydantic.Field(max_length=128)], ...], pydantic.Field(max_length=128)
    ] = ()
    """Identifiers of the obligations; the manifest holds their texts."""


class LineageEntry(kube.Model):
    """One input of an artifact."""

    role: Annotated[str, pydantic.Field(max_length=32)]
    """Base, Corpus or Source."""
    name: Annotated[str, pydantic.Field(max_length=253)]
    """Its name."""
    digest: Annotated[str, pydantic.Field(max_length=128)]
    """Digest of its manifest, or of its documents."""
    license_expression: Annotated[str, pydantic.Field(max_length=1024)]
    """Its license."""


class Progress(kube.Model):
    """How far the current attempt is."""

    stage: Annotated[str, pydantic.Field(max_length=64)]
    """What is being done."""
    step: kube.Count = 0
    """Units of the stage that are done."""
    total_steps: kube.Count = 0
    """Units of the stage in all; 0 while unknown."""
    samples_seen: kube.Count = 0
    """Rows read or trained on."""
    tokens_seen: kube.Count = 0
    """Supervised tokens trained on."""
    loss: Annotated[str, pydantic.Field(max_length=32)] | None = None
    """Loss of the last step."""
    loss_ema: Annotated[str, pydantic.Field(max_length=32)] | None = None
    """Exponential moving average of the loss."""
    tokens_per_second: Annotated[str, pydantic.Field(max_length=32)] | None = None
    """Throughput."""
    eta_seconds: kube.Seconds | None = None
    """Estimated seconds to the end."""


class Status(kube.Model):
    """What every resource reports."""

    observed_generation: kube.Count = 0
    """Generation of the spec that this status answers to."""
    conditions: kube.Conditions = ()
    """What is known, one entry for each question; see the reference of reasons."""


class RunStatus(Status):
    """What a run reports: MensCorpus and MensTrainRun."""

    attempts: kube.Count = 0
    """Attempts that counted against `spec.retry.limit`."""
    job_name: Annotated[str, pydantic.Field(max_length=63)] | None = None
    """The Job of the current or last attempt."""
    next_attempt_time: kube.Timestamp | None = None
    """When the next attempt may begin."""
    start_time: kube.Timestamp | None = None
    """When the first attempt of this generation began."""
    completion_time: kube.Timestamp | None = None
    """When the run reached its end."""
    progress: Progress | None = None
    """How far the current attempt is."""
    artifact: Artifact | None = None
    """What was produced."""
    compliance: Compliance | None = None
    """What one may do with it."""
    lineage: Annotated[tuple[LineageEntry, ...], pydantic.Field(max_length=128)] = ()
    """What it was made from."""
