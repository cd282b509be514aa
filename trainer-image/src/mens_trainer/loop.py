"""The training loop: next-token cross-entropy on answers, through the full graph.

Readable in one sitting. Three things keep it quick and right:
- Only supervised positions go through the output head. Logits are the largest tensors there are
  (tokens × vocabulary), and those of the prompt would be thrown away; the gradients are identical.
- Rows of similar length share a micro-batch, padded on the right. A causal model never looks to
  the right, so padding changes nothing and no attention mask is needed.
- A step's loss is the sum over its supervised tokens divided by their number, whatever the
  micro-batches are: accumulation does not change the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mens_trainer import data, errors, memory, model, recipe, telemetry

Observe = Callable[[telemetry.StepFacts], None]
"""Told of every optimizer step."""


@dataclass(frozen=True)
class Batch:
    """Rows as tensors, padded on the right to the longest."""

    tokens: torch.Tensor
    """Token ids, [rows, length]."""
    predicts: torch.Tensor
    """Where the next token is supervised, [rows, length]."""
    targets: torch.Tensor
    """Those next tokens, [supervised], in the order in which `predicts` selects."""
    valid: int
    """Tokens that are no padding."""


def collate(examples: Sequence[data.Example], device: str = "cpu") -> Batch:
    """Pad rows to tensors."""
    length = max(len(each.tokens) for each in examples)
    tokens = torch.zeros(len(examples), length, dtype=torch.long)
    supervised = torch.zeros(len(examples), length + 1, dtype=torch.bool)
    for i, each in enumerate(examples):
        # Of the array's own memory; the copy of the mask is one that torch may write to.
        tokens[i, : len(each.tokens)] = torch.frombuffer(each.tokens, dtype=torch.int32)
        supervised[i, : len(each.tokens)] = torch.frombuffer(
            bytearray(each.supervised), dtype=torch.bool
        )
    # Position t predicts token t + 1, so the mask moves one to the left.
    targets = tokens[supervised[:, :-1]]
    valid = sum(len(each.tokens) for each in examples)
    return Batch(tokens.to(device), supervised[:, 1:].to(device), targets.to(device), valid)


class SelectedHead:
    """Makes a model's output head see the supervised positions only.

    A hook in front of the head picks the rows, so everything else of the model's own forward
    stays in place, also what some models do to logits afterwards (scaling, soft caps).

    Args:
        causal: A Hugging Face causal language model, with or without adapter.
    """

    def __init__(self, causal: Any) -> None:
        self._model = causal
        self._predicts: torch.Tensor | None = None
        self._hook = causal.get_output_embeddings().register_forward_pre_hook(self._select)

    def __enter__(self) -> SelectedHead:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def logits(self, batch: Batch) -> torch.Tensor:
        """Logits at the supervised positions, [supervised, vocabulary]."""
        self._predicts = batch.predicts
        try:
            found: torch.Tensor = self._model(input_ids=batch.tokens, use_cache=False).logits
        finally:
            self._predicts = None
        return found

    def loss_sum(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy summed over the supervised tokens, in nats."""
        return torch.nn.functional.cross_entropy(
            self.logits(batch).float(), batch.targets, reduction="sum"
        )

    def _select(self, _: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> Any:
        if self._predicts is None:
            return None
        return (args[0][self._predicts], *args[1:])


def evaluate(
    causal: Any, examples: Sequence[data.Example], plan: recipe.Recipe, device: str = "cpu"
) -> float:
    """Mean cross-entropy over all supervised tokens of the examples, in nats."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].tokens))
    model.evaluation_mode(causal)
    total, targets = 0.0, 0
    with torch.no_grad(), SelectedHead(causal) as head:
        for rows in recipe.micro_batches(order, plan.micro_batch):
            batch = collate([examples[i] for i in rows], device)
            total += head.loss_sum(batch).item()
            targets += len(batch.targets)
    return total / targets


def optimizer_of(causal: torch.nn.Module, plan: recipe.Recipe) -> torch.optim.AdamW:
    """AdamW over the adapter's weights."""
    trainable = [p for p in causal.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        trainable, lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
    )


def train(
    causal: Any,
    examples: Sequence[data.Example],
    plan: recipe.Recipe,
    observe: Observe,
    *,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> telemetry.Counters:
    """Train the adapter in place, and return the counters at the end."""
    lengths = [len(each.tokens) for each in examples]
    total = plan.total_steps(len(examples))
    optimizer = optimizer_of(causal, plan)
    counters = telemetry.Counters()
    model.train_mode(causal)
    with SelectedHead(causal) as head:
        for step in recipe.steps(lengths, plan):
            begin = clock()
            rate = plan.rate(counters.step, total)
            batches = [collate([examples[i] for i in rows], device) for rows in step]
            loss, norm = _gradient(head, batches, optimizer, plan.max_gradient_norm)
            # Before the step: it would spread what is no number over the whole adapter.
            _must_be_finite(loss, norm, counters.step + 1, total, plan)
            _apply(optimizer, rate)
            seconds = clock() - begin
            valid, targets = sum(b.valid for b in batches), sum(len(b.targets) for b in batches)
            counters = counters.after(
                loss,
                seconds,
                samples=sum(len(rows) for rows in step),
                tokens=valid,
                padded=sum(b.tokens.numel() for b in batches),
                targets=targets,
            )
            observe(
                telemetry.StepFacts(
                    counters=counters,
                    total_steps=total,
                    loss=loss,
                    learning_rate=rate,
                    gradient_norm=norm,
                    seconds=seconds,
                    tokens=valid,
                    targets=targets,
                    rss_bytes=memory.rss(),
                    device_bytes=torch.cuda.memory_allocated() if device != "cpu" else 0,
                )
            )
    return counters


def _gradient(
    head: SelectedHead,
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    max_norm: float,
) -> tuple[float, float]:
    """Leave a step's gradient in the weights; returns the loss and the norm before clipping."""
    targets = sum(len(batch.targets) for batch in batches)
    total = 0.0
    for batch in batches:
        loss = head.loss_sum(batch) / targets
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    return total, float(torch.nn.utils.clip_grad_norm_(trainable, max_norm))


def _apply(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Move the weights along their gradient."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _must_be_finite(loss: float, norm: float, step: int, total: int, plan: recipe.Recipe) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    raise diverged(f"at step {step} of {total} the loss is {loss} and the gradient's {norm}", plan)


def diverged(what: str, plan: recipe.Recipe) -> errors.Diverged:
    """Training left the numbers."""
    return errors.Diverged(
        f"training diverged: {what}; lower schedule.learningRate (now {plan.learning_rate:g}) or "
        f"raise schedule.warmupSteps (now {plan.warmup_steps})"
    )
