"""What a run does, as numbers: pure, without torch, readable by whoever plans or reviews it."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from mens.api import trainrun

ComputeDtype = Literal["bfloat16", "float32"]
"""What matrices are multiplied in; chosen by measuring, see `model.fastest_dtype`."""

MicroBatch = tuple[int, ...]
"""Rows that are computed at once, by their index."""
Step = tuple[MicroBatch, ...]
"""Micro-batches whose gradients make one optimizer step."""

_POOL_STEPS: Final = 32
"""Steps whose rows are sorted by length together. Padding falls with more, mixing grows with
fewer; at 32 steps of 4 rows padding is below 5 % of the tokens of functions and docstrings."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result besides the base model and the corpus."""

    rank: int = 16
    """Rank r of the adapter."""
    alpha: int = 32
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = 0.0
    """Share of the adapter's inputs that is dropped while training."""
    quantization: Literal["Nf4Double"] | None = "Nf4Double"
    """How the frozen base is held: NF4 in blocks of 64 with quantized block constants; None keeps
    it in the compute dtype."""
    ce_last_k: int = 0
    """Only the last K supervised tokens of a row count; 0 counts all."""
    epochs: int = 1
    """Passes over the rows."""
    max_steps: int | None = None
    """Most optimizer steps."""
    learning_rate: float = 2e-4
    """Highest learning rate."""
    warmup_steps: int = 0
    """Steps over which the rate rises."""
    batch: int = 16
    """Rows in one optimizer step."""
    micro_batch: int = 4
    """Rows computed at once; changes memory and speed, not the result."""
    max_tokens: int = 1024
    """Longest row in tokens."""
    seed: int = 17
    """Seed of order, initial adapter and dropout."""
    evaluation_rows: int = 64
    """Most held-out rows to measure the loss on."""
    weight_decay: float = 0.0
    """AdamW's decay of the adapter's weights; QLoRA uses none."""
    max_gradient_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    @classmethod
    def from_spec(cls, spec: trainrun.MensTrainRunSpec) -> Self:
        """The recipe that a MensTrainRun asks for."""
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
        """A JSON object, for telemetry and the preflight's contract."""
        return dataclasses.asdict(self)

    def total_steps(self, rows: int) -> int:
        """Optimizer steps that `rows` rows give."""
        whole = math.ceil(rows / self.batch) * self.epochs
        return whole if self.max_steps is None else min(whole, self.max_steps)

    def rate(self, step: int, total: int) -> float:
        """Learning rate of optimizer step `step`, counted from 0.

        Rises linearly to the highest rate at step `warmup_steps`, then falls linearly so that the
        step after the last one would have 0.
        """
        warmup = min(self.warmup_steps, total - 1)
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        return self.learning_rate * (total - step) / max(1, total - warmup)


def steps(lengths: Sequence[int], recipe: Recipe) -> Iterator[Step]:
    """All optimizer steps of a run, in order; the same arguments give the same steps.

    Rows are drawn at random into pools, sorted by length within a pool, cut into steps, and the
    steps of the whole epoch are shuffled. Which rows make a step does not depend on the
    micro-batch, so an attempt after an OutOfMemory trains the same.
    """
    done = 0
    total = recipe.total_steps(len(lengths))
    for epoch in range(recipe.epochs):
        for step in _epoch(lengths, recipe, epoch):
            if done == total:
                return
            yield step
            done += 1


def micro_batches(rows: Sequence[int], size: int) -> Step:
    """Cut rows into micro-batches."""
    return tuple(tuple(rows[i : i + size]) for i in range(0, len(rows), size))


def _epoch(lengths: Sequence[int], recipe: Recipe, epoch: int) -> list[Step]:
    # Not a secret: the generator must give the same order for the same seed on every machine.
    random_ = random.Random(f"{recipe.seed}/{epoch}")  # noqa: S311
    order = list(range(len(lengths)))
    random_.shuffle(order)
    batches: list[list[int]] = []
    pool = recipe.batch * _POOL_STEPS
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: lengths[row])
        batches += [rows[i : i + recipe.batch] for i in range(0, len(rows), recipe.batch)]
    random_.shuffle(batches)
    return [micro_batches(rows, recipe.micro_batch) for rows in batches]
