"""MensTrainRun: a base model and a corpus become a verified adapter."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar, Literal

import pydantic

from mens.api import kube, status


class Method(enum.StrEnum):
    """How the adapter is trained."""

    QLORA = "Qlora"
    """Low-rank adapters over a base that is frozen in NF4 with double quantization."""


class BaseModel(kube.Model):
    """A base model that `mens model import` put into the store, with its license."""

    uri: kube.S3Uri
    """Folder of the model's artifact, `s3://bucket/models/name`."""


class Lora(kube.Model):
    """Shape of the adapter: ΔW = (alpha / rank) · B·A on every linear layer but head and routers.

    A base that keeps most of its parameters in other layers (a mixture of experts) is refused.
    """

    rank: Annotated[int, pydantic.Field(ge=1, le=256)] = 16
    """Rank r of the two small matrices A and B: more can learn more, and takes more memory."""
    alpha: Annotated[int, pydantic.Field(ge=1, le=1024)] = 32
    """Weight of the adapter: its output counts alpha / rank times; twice the rank is usual."""
    dropout: Annotated[kube.DecimalString, kube.decimal_range("0", "0.9")] = "0"
    """Share of the adapter's inputs that is dropped while training, a decimal in quotes."""


class Objective(kube.Model):
    """What is minimized: next-token cross-entropy on answers, through the full graph."""

    ce_last_k: Annotated[int, pydantic.Field(ge=0, le=65536)] = 0
    """Only the last K supervised tokens of each row count; 0 counts every supervised token."""


class Schedule(kube.Model):
    """How long and how fast."""

    RULES: ClassVar = (
        kube.Rule(
            "self.microBatchSize <= self.effectiveBatchSize",
            "microBatchSize must not exceed effectiveBatchSize: lower the former.",
            holds=lambda schedule: schedule.micro_batch_size <= schedule.effective_batch_size,
            path=".microBatchSize",
        ),
    )

    epochs: Annotated[int, pydantic.Field(ge=1, le=1000)] = 1
    """Passes over the corpus; `maxSteps` may end them earlier."""
    max_steps: Annotated[int, pydantic.Field(ge=1, le=10000000)] | None = None
    """Most optimizer steps; none by default."""
    learning_rate: Annotated[kube.DecimalString, kube.decimal_range("1e-9", "1")] = "2e-4"
    """Highest learning rate, a decimal in quotes; falls linearly to 0 after the warm-up."""
    warmup_steps: Annotated[int, pydantic.Field(ge=0, le=1000000)] = 0
    """Steps over which the rate rises from 0."""
    effective_batch_size: Annotated[int, pydantic.Field(ge=1, le=65536)] = 16
    """Rows in one optimizer step."""
    micro_batch_size: Annotated[int, pydantic.Field(ge=1, le=65536)] = 4
    """Rows computed at once; gradients of several micro-batches add up to a step. Halved after an
    OutOfMemory; the loss does not depend on it."""
    max_tokens: Annotated[int, pydantic.Field(ge=16, le=1048576)] = 1024
    """Longest row in tokens; longer ones are left out and counted."""
    seed: Annotated[int, pydantic.Field(ge=0, le=2147483647)] = 17
    """Seed of order, initial adapter and dropout."""


class Evaluation(kube.Model):
    """How the held-out loss is measured, before and after."""

    max_rows: Annotated[int, pydantic.Field(ge=1, le=100000)] = 64
    """Most held-out rows to use, chosen by the corpus's own order."""


class MensTrainRunSpec(kube.Model):
    """What to train."""

    base_model: BaseModel
    """The model to start from."""
    corpus_ref: kube.LocalRef
    """The MensCorpus to train on."""
    method: Method = Method.QLORA
    """How the adapter is trained."""
    lora: Lora = Lora()
    """Shape of the adapter."""
    objective: Objective = Objective()
    """What is minimized."""
    schedule: Schedule = Schedule()
    """How long and how fast."""
    evaluation: Evaluation = Evaluation()
    """How the held-out loss is measured."""
    resources: status.Resources = status.Resources(cpu="2", memory="8Gi")
    """What the pod asks for."""
    queue_name: kube.LabeledName | None = None
    """Kueue LocalQueue to go through; the Job is then created suspended and Kueue starts it."""
    retry: status.Retry = status.Retry()
    """How often an attempt that ended in a defect is repeated."""
    suspend: bool = False
    """Stops the run; a running pod is ended, and started again when this is false."""
    active_deadline_seconds: Annotated[int, pydantic.Field(ge=1, le=31536000)] | None = None
    """Seconds after which an attempt is ended; none by default."""
    ttl_seconds_after_finished: Annotated[int, pydantic.Field(ge=0, le=315360000)] | None = None
    """Seconds after which the finished resource is deleted; the artifact stays. None keeps it."""


class HeldOutLoss(kube.Model):
    """Mean cross-entropy on held-out answers, in nats per token."""

    before: kube.DecimalString
    """Of the base model."""
    after: kube.DecimalString
    """Of the base model with the adapter."""


class MensTrainRunStatus(status.RunStatus):
    """What is known about the run."""

    held_out_loss: HeldOutLoss | None = None
    """Loss on rows that were not trained on."""
    micro_batch_size: Annotated[int, pydantic.Field(ge=1, le=65536)] | None = None
    """What the next attempt uses where it differs from the spec (after an OutOfMemory)."""


class MensTrainRun(kube.Resource):
    """A fine-tuning run: base model + corpus → adapter."""

    NAMES: ClassVar = kube.Names(
        kind="MensTrainRun", plural="menstrainruns", singular="menstrainrun", short="mtr"
    )
    COLUMNS: ClassVar = (
        kube.condition_column("Succeeded", "Succeeded"),
        kube.condition_column("Reason", "Succeeded", "reason"),
        kube.Column("Step", ".status.progress.step", "Optimizer steps done.", type="integer"),
        kube.Column("Of", ".status.progress.totalSteps", "Optimizer steps in all.", type="integer"),
        kube.Column("Loss", ".status.progress.lossEma", "Moving average of the loss."),
        kube.Column("Held-out", ".status.heldOutLoss.after", "Held-out loss of the adapter."),
        kube.Column(
            "ETA", ".status.progress.etaSeconds", "Seconds to the end.", type="integer", priority=1
        ),
        kube.Column(
            "License", ".status.compliance.licenseExpression", "SPDX expression.", priority=1
        ),
        kube.Column("Digest", ".status.artifact.digest", "Digest of the manifest.", priority=1),
        kube.AGE,
    )

    kind: Literal["MensTrainRun"] = "MensTrainRun"
    """Always `MensTrainRun`."""

    spec: MensTrainRunSpec
    """What to train."""
    status: MensTrainRunStatus = MensTrainRunStatus()
    """What is known about it."""
