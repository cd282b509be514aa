"""MensTrainRun: trains a verified adapter from a base model and a corpus."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar, Literal

import pydantic

from mens.api import basemodel, kube, spec, status


class Method(enum.StrEnum):
    """Training method."""

    QLORA = "Qlora"
    """QLoRA: a low-rank adapter on a frozen base model, quantized to NF4 with double
    quantization."""


class Lora(kube.Model):
    """LoRA adapter: ΔW = (alpha / rank) · B·A on every linear layer except the head and routers.

    A base model with most of its parameters in other layers (mixture of experts) is not supported.
    """

    rank: Annotated[int, pydantic.Field(ge=1, le=256)] = 16
    """Rank of the matrices A and B. A higher rank can learn more and needs more memory."""
    alpha: Annotated[int, pydantic.Field(ge=1, le=1024)] = 32
    """Scaling of the adapter: its output is multiplied by alpha / rank. Twice the rank is
    common."""
    dropout: Annotated[kube.DecimalString, kube.decimal_range("0", "0.9")] = "0"
    """Dropout probability of the adapter's inputs during training, a quoted decimal."""


class Objective(kube.Model):
    """Training objective: next-token cross-entropy on the answers."""

    ce_last_k: Annotated[int, pydantic.Field(ge=0, le=65536)] = 0
    """Number of supervised tokens at the end of each row that count toward the loss. 0 counts
    all."""


class Schedule(kube.Model):
    """Training schedule."""

    RULES: ClassVar = (
        kube.Rule(
            "self.microBatchSize <= self.effectiveBatchSize",
            "microBatchSize must not exceed effectiveBatchSize; lower microBatchSize.",
            holds=lambda schedule: schedule.micro_batch_size <= schedule.effective_batch_size,
            path=".microBatchSize",
        ),
    )

    epochs: Annotated[int, pydantic.Field(ge=1, le=1000)] = 1
    """Number of passes over the corpus. `maxSteps` can end training earlier."""
    max_steps: Annotated[int, pydantic.Field(ge=1, le=10000000)] | None = None
    """Maximum optimizer steps; unlimited by default."""
    learning_rate: Annotated[kube.DecimalString, kube.decimal_range("1e-9", "1")] = "2e-4"
    """Peak learning rate, a quoted decimal. Decays linearly to 0 after the warm-up."""
    warmup_steps: Annotated[int, pydantic.Field(ge=0, le=1000000)] = 0
    """Number of optimizer steps over which the learning rate rises from 0 to its peak."""
    effective_batch_size: Annotated[int, pydantic.Field(ge=1, le=65536)] = 16
    """Number of rows in one optimizer step."""
    micro_batch_size: Annotated[int, pydantic.Field(ge=1, le=65536)] = 4
    """Number of rows computed at once. Gradients of several micro-batches accumulate to one
    step, so the loss does not depend on this number. Halved for the next attempt after
    OutOfMemory."""
    max_tokens: Annotated[int, pydantic.Field(ge=16, le=1048576)] = 1024
    """Maximum length of a row in tokens. Longer rows are skipped and counted."""
    seed: Annotated[int, pydantic.Field(ge=0, le=2147483647)] = 17
    """Seed of the row order, the initial adapter and dropout."""


class Evaluation(kube.Model):
    """Evaluation on held-out rows, before and after training."""

    max_rows: Annotated[int, pydantic.Field(ge=1, le=100000)] = 64
    """Maximum number of held-out rows to evaluate, in the order of the corpus."""


class MensTrainRunSpec(spec.RunSpec):
    """Desired adapter, and how to train it."""

    base_model: basemodel.BaseModel
    """Base model to fine-tune."""
    corpus_ref: kube.LocalRef
    """MensCorpus to train on, in the same namespace."""
    method: Method = Method.QLORA
    """Training method."""
    lora: Lora = Lora()
    """Rank, scaling and dropout of the LoRA adapter."""
    objective: Objective = Objective()
    """Training objective."""
    schedule: Schedule = Schedule()
    """Training schedule."""
    evaluation: Evaluation = Evaluation()
    """Evaluation on held-out rows."""
    resources: spec.Resources = spec.Resources(cpu="2", memory="8Gi")
    """Compute resources of the pod."""
    queue_name: kube.LabeledName | None = None
    """Kueue LocalQueue of the Job. If set, the Job is created suspended and Kueue starts it."""


class HeldOutLoss(kube.Model):
    """Mean cross-entropy on held-out answers, in nats per token."""

    before: kube.DecimalString
    """Loss of the base model."""
    after: kube.DecimalString
    """Loss of the base model with the adapter."""


class MensTrainRunStatus(status.RunStatus):
    """Observed state of the run."""

    held_out_loss: HeldOutLoss | None = None
    """Loss on held-out rows, before and after training."""
    micro_batch_size: Annotated[int, pydantic.Field(ge=1, le=65536)] | None = None
    """Micro-batch size of the next attempt, if OutOfMemory lowered it below the spec's."""


class MensTrainRun(kube.Resource):
    """A fine-tuning run that trains an adapter from a base model and a corpus."""

    NAMES: ClassVar = kube.Names(
        kind="MensTrainRun", plural="menstrainruns", singular="menstrainrun", short="mtr"
    )
    COLUMNS: ClassVar = (
        kube.condition_column("Succeeded", "Succeeded"),
        kube.condition_column("Reason", "Succeeded", "reason"),
        kube.Column("Step", ".status.progress.step", "Completed optimizer steps.", type="integer"),
        kube.Column("Of", ".status.progress.totalSteps", "Total optimizer steps.", type="integer"),
        kube.Column("Loss", ".status.progress.lossEma", "Exponential moving average of the loss."),
        kube.Column("Held-out", ".status.heldOutLoss.after", "Held-out loss with the adapter."),
        kube.Column(
            "ETA",
            ".status.progress.etaSeconds",
            "Estimated seconds until the stage ends.",
            type="integer",
            priority=1,
        ),
        kube.Column(
            "License",
            ".status.compliance.licenseExpression",
            "SPDX license expression.",
            priority=1,
        ),
        kube.Column(
            "Digest", ".status.artifact.digest", "SHA-256 digest of the manifest.", priority=1
        ),
        kube.AGE,
    )

    kind: Literal["MensTrainRun"] = "MensTrainRun"
    """Always `MensTrainRun`."""

    spec: MensTrainRunSpec
    """Desired adapter, and how to train it."""
    status: MensTrainRunStatus = MensTrainRunStatus()
    """Observed state of the run."""
