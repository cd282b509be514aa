"""Parts that the specs share: resources of a pod, and the fields of every run."""

from __future__ import annotations

from typing import Annotated

import pydantic

from mens.api import kube


class Gpu(kube.Model):
    """GPUs of one pod."""

    count: Annotated[int, pydantic.Field(ge=1, le=64)] = 1
    """Number of GPUs."""
    resource_name: kube.ExtendedResource = "nvidia.com/gpu"
    """Name of the extended resource that the device plugin provides."""
    product: kube.LabelValue | None = None
    """Required value of the node label `nvidia.com/gpu.product`. Any product by default."""


class Resources(kube.Model):
    """Compute resources of a pod.

    CPU is a request without a limit, because a throttled thread stalls every thread that waits for
    it. Memory is both request and limit, because a pod that exceeds its request can be evicted.
    """

    cpu: kube.Quantity
    """CPU request, for example `500m` or `2`."""
    memory: kube.Quantity
    """Memory request and limit, for example `8Gi`."""
    threads: Annotated[int, pydantic.Field(ge=1, le=1024)] | None = None
    """Number of compute threads. Defaults to the CPU request, rounded down, at least 1. Set a
    higher number if the pod has the node for itself and can use CPUs beyond its request."""
    gpu: Gpu | None = None
    """GPUs of the pod. None by default: the pod computes on CPUs."""
    scratch: kube.Quantity = "20Gi"
    """Maximum size of the volume for temporary files."""


class Retry(kube.Model):
    """Retry policy for attempts that failed because of a defect of the program.

    Preemption does not count as an attempt. Waiting for an input or for the storage has no limit.
    """

    limit: Annotated[int, pydantic.Field(ge=0, le=100)] = 3
    """Maximum number of retries after the first attempt."""


class RunSpec(kube.Model):
    """Fields of the spec of every run: MensCorpus and MensTrainRun."""

    resources: Resources
    """Compute resources of the pod."""
    retry: Retry = Retry()
    """Retry policy for attempts that failed because of a defect of the program."""
    suspend: bool = False
    """Suspends the run. A running pod is deleted; the run starts again when this is false."""
    active_deadline_seconds: Annotated[int, pydantic.Field(ge=1, le=31536000)] | None = None
    """Maximum duration of one attempt in seconds. Unlimited by default."""
    ttl_seconds_after_finished: Annotated[int, pydantic.Field(ge=0, le=315360000)] | None = None
    """Seconds after which the finished resource is deleted; its artifact remains. By default, the
    resource is kept."""
