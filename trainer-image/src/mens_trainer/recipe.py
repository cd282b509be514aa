"""The hyperparameters of a run and everything that follows from them. Pure; no torch."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from mens.api import trainrun

ComputeDtype = Literal["bfloat16", "float32"]
"""The dtype of matrix products; measured at start, see `dtypes.fastest`."""

MicroBatch = tuple[int, ...]
"""Indices of the rows that go through the model together."""
OptimizerStep = tuple[MicroBatch, ...]
"""Micro-batches whose gradients accumulate into one optimizer step."""

_MEGABATCH_STEPS: Final = 32
"""Steps whose rows are sorted by length together. A larger value reduces padding, a smaller one
mixes rows better; at 32 steps of 4 rows, padding is below 5 % of the tokens of functions and
docstrings."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the result besides the base model and the corpus.

    The field names are part of the preflight contract and of telemetry.jsonl: renaming one changes
    every preflight digest.
    """

    rank: int = 16
    """LoRA rank r."""
    alpha: int = 32
    """LoRA alpha: the adapter's output is scaled by alpha / rank."""
    dropout: float = 0.0
    """LoRA dropout: fraction of the adapter's inputs dropped during training."""
    quantization: Literal["Nf4Double"] | None = "Nf4Double"
    """Quantization of the frozen base: NF4 in blocks of 64 with quantized block constants. None
    keeps the base in the compute dtype."""
    ce_last_k: int = 0
    """Only the last K supervised tokens of a row count in the loss; 0 counts all of them."""
    epochs: int = 1
    """Passes over the training rows."""
    max_steps: int | None = None
    """Maximum optimizer steps; None for no limit."""
    learning_rate: float = 2e-4
    """Peak learning rate."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises to its peak."""
    batch: int = 16
    """Effective batch size: rows in one optimizer step."""
    micro_batch: int = 4
    """Micro-batch size: rows that are computed together. Affects memory and speed, not the
    result."""
    max_tokens: int = 1024
    """Maximum tokens in a row."""
    seed: int = 17
    """Seed of row order, adapter initialization and dropout."""
    evaluation_rows: int = 64
    """Maximum held-out rows for the evaluation loss."""
    weight_decay: float = 0.0
    """AdamW weight decay of the adapter; QLoRA uses none."""
    max_gradient_norm: float = 1.0
    """Gradients are clipped to this norm."""

    @classmethod
    def from_spec(cls, spec: trainrun.MensTrainRunSpec) -> Self:
        """Return the recipe that the spec of a MensTrainRun describes."""
        schedule = spec.schedule
        return cls(
            rank=spec.lora.rank,
            alpha=spec.lora.alpha,
            dropout=float(spec.lora.dropout),
            ce_last_k=spec.objective.ce_last_k,
            epochs=schedule.epochs,
            max_steps=schedule.max_steps,
            learning_rate=float(schedule.learning_rate),
            warmup_steps=schedule.warmup_steps,
            batch=schedule.effective_batch_size,
            micro_batch=schedule.micro_batch_size,
            max_tokens=schedule.max_tokens,
            seed=schedule.seed,
            evaluation_rows=spec.evaluation.max_rows,
        )

    def to_object(self) -> dict[str, Any]:
        """Return a JSON object for telemetry and the preflight contract."""
        return dataclasses.asdict(self)

    def total_steps(self, rows: int) -> int:
        """Return the number of optimizer steps for this number of training rows."""
        unlimited = math.ceil(rows / self.batch) * self.epochs
        return unlimited if self.max_steps is None else min(unlimited, self.max_steps)

    def learning_rate_at(self, step: int, total: int) -> float:
        """Return the learning rate of optimizer step `step`, counted from 0.

        Linear schedule with warmup: rises to the peak at step `warmup_steps`, then falls so that
        the step after the last one would have 0.
        """
        warmup = min(self.warmup_steps, total - 1)
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        return self.learning_rate * (total - step) / max(1, total - warmup)


def optimizer_steps(lengths: Sequence[int], recipe: Recipe) -> Iterator[OptimizerStep]:
    """Yield the optimizer steps of a run, in order; equal arguments give equal steps.

    Batches group rows by length: rows are shuffled, cut into megabatches, sorted by length within
    each megabatch and cut into steps; then the steps of the epoch are shuffled. The rows of a step
    do not depend on the micro-batch size, so an attempt after an OutOfMemory trains on the same
    steps.

    Args:
        lengths: Tokens of each row.
        recipe: Seed, epochs and batch sizes.
    """
    done = 0
    total = recipe.total_steps(len(lengths))
    for epoch in range(recipe.epochs):
        for step in _epoch_steps(lengths, recipe, epoch):
            if done == total:
                return
            yield step
            done += 1


def split_into_micro_batches(rows: Sequence[int], size: int) -> OptimizerStep:
    """Split row indices into micro-batches of at most `size` rows."""
    return tuple(tuple(rows[i : i + size]) for i in range(0, len(rows), size))


def _epoch_steps(lengths: Sequence[int], recipe: Recipe, epoch: int) -> list[OptimizerStep]:
    # Not a secret: the generator must give the same order for the same seed on every machine.
    generator = random.Random(f"{recipe.seed}/{epoch}")  # noqa: S311
    order = list(range(len(lengths)))
    generator.shuffle(order)
    batches: list[list[int]] = []
    megabatch = recipe.batch * _MEGABATCH_STEPS
    for start in range(0, len(order), megabatch):
        rows = sorted(order[start : start + megabatch], key=lambda row: lengths[row])
        batches += [rows[i : i + recipe.batch] for i in range(0, len(rows), recipe.batch)]
    generator.shuffle(batches)
    return [split_into_micro_batches(rows, recipe.micro_batch) for rows in batches]
