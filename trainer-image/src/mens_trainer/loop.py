"""The training loop: next-token cross-entropy on supervised tokens, through the full graph.

Three properties keep it fast and correct:
- Only supervised positions go through the output head. Logits are the largest tensors (tokens ×
  vocabulary), and those of the prompt are not needed; the gradients are identical.
- Rows of similar length share a micro-batch, padded on the right. A causal model never attends to
  the right, so padding changes nothing and no attention mask is needed.
- The loss of a step is the sum over its supervised tokens divided by their number, whatever the
  micro-batches are: gradient accumulation does not change the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mens.api import reasons
from mens.runtime import errors
from mens_trainer import data, memory, model, recipe, telemetry


class DivergedError(errors.JobError):
    """The loss or the gradient is not finite. Not retried: the same spec diverges again."""

    def __init__(self, message: str) -> None:
        super().__init__(reasons.DIVERGED, message)


StepCallback = Callable[[telemetry.StepMetrics], None]
"""Called after every optimizer step."""


@dataclass(frozen=True)
class Batch:
    """Rows as tensors, padded on the right to the longest one."""

    input_ids: torch.Tensor
    """Token ids, [rows, length]."""
    logits_mask: torch.Tensor
    """Positions whose next token is supervised, [rows, length], bool."""
    labels: torch.Tensor
    """Those next tokens, [supervised], in the order in which `logits_mask` selects."""
    tokens: int
    """Number of tokens without padding."""


def collate(examples: Sequence[data.Example], device: str = "cpu") -> Batch:
    """Pad examples and stack them into a batch on the device."""
    length = max(len(each.input_ids) for each in examples)
    input_ids = torch.zeros(len(examples), length, dtype=torch.long)
    label_mask = torch.zeros(len(examples), length + 1, dtype=torch.bool)
    for i, each in enumerate(examples):
        # Shares the array's memory; the mask is copied, since torch requires a writable buffer.
        input_ids[i, : len(each.input_ids)] = torch.frombuffer(each.input_ids, dtype=torch.int32)
        label_mask[i, : len(each.input_ids)] = torch.frombuffer(
            bytearray(each.label_mask), dtype=torch.bool
        )
    # Position t predicts token t + 1, so the mask shifts left by one.
    labels = input_ids[label_mask[:, :-1]]
    tokens = sum(len(each.input_ids) for each in examples)
    return Batch(input_ids.to(device), label_mask[:, 1:].to(device), labels.to(device), tokens)


class SelectiveHead:
    """Restricts a model's output head to the supervised positions. A context manager.

    A hook before the head selects the positions, so the rest of the model's own forward pass
    applies, including what some models do to logits afterwards (scaling, soft caps).

    Args:
        causal: A Hugging Face causal language model, with or without adapter.
    """

    def __init__(self, causal: Any) -> None:
        self._model = causal
        self._logits_mask: torch.Tensor | None = None
        self._hook = causal.get_output_embeddings().register_forward_pre_hook(self._select)

    def __enter__(self) -> SelectiveHead:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def logits(self, batch: Batch) -> torch.Tensor:
        """Return the logits at the supervised positions, [supervised, vocabulary]."""
        self._logits_mask = batch.logits_mask
        try:
            logits: torch.Tensor = self._model(input_ids=batch.input_ids, use_cache=False).logits
        finally:
            self._logits_mask = None
        return logits

    def loss_sum(self, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy summed over the supervised tokens, in nats."""
        return torch.nn.functional.cross_entropy(
            self.logits(batch).float(), batch.labels, reduction="sum"
        )

    def _select(self, _: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> Any:
        if self._logits_mask is None:
            return None
        return (args[0][self._logits_mask], *args[1:])


def evaluate(
    causal: Any, examples: Sequence[data.Example], plan: recipe.Recipe, device: str = "cpu"
) -> float:
    """Return the mean cross-entropy over all supervised tokens of the examples, in nats."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))
    model.set_eval_mode(causal)
    loss_sum, supervised_tokens = 0.0, 0
    with torch.no_grad(), SelectiveHead(causal) as head:
        for rows in recipe.split_into_micro_batches(order, plan.micro_batch):
            batch = collate([examples[i] for i in rows], device)
            loss_sum += head.loss_sum(batch).item()
            supervised_tokens += len(batch.labels)
    return loss_sum / supervised_tokens


def create_optimizer(causal: torch.nn.Module, plan: recipe.Recipe) -> torch.optim.AdamW:
    """Return AdamW over the adapter's weights."""
    trainable = [p for p in causal.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        trainable, lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
    )


def train(
    causal: Any,
    examples: Sequence[data.Example],
    plan: recipe.Recipe,
    on_step: StepCallback,
    *,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> telemetry.Counters:
    """Train the adapter in place and return the final counters.

    Raises:
        DivergedError: The loss or the gradient of a step is not finite.
    """
    lengths = [len(each.input_ids) for each in examples]
    total = plan.total_steps(len(examples))
    optimizer = create_optimizer(causal, plan)
    counters = telemetry.Counters()
    model.set_train_mode(causal)
    with SelectiveHead(causal) as head:
        for step in recipe.optimizer_steps(lengths, plan):
            begin = clock()
            learning_rate = plan.learning_rate_at(counters.step, total)
            batches = [collate([examples[i] for i in rows], device) for rows in step]
            loss, norm = _accumulate_gradients(head, batches, optimizer, plan.max_gradient_norm)
            # Before the optimizer step, which would spread NaN over the whole adapter.
            _check_finite(loss, norm, counters.step + 1, total, plan)
            _optimizer_step(optimizer, learning_rate)
            seconds = clock() - begin
            tokens = sum(batch.tokens for batch in batches)
            supervised_tokens = sum(len(batch.labels) for batch in batches)
            counters = counters.after_step(
                loss,
                seconds,
                samples=sum(len(rows) for rows in step),
                tokens=tokens,
                padded_tokens=sum(batch.input_ids.numel() for batch in batches),
                supervised_tokens=supervised_tokens,
            )
            on_step(
                telemetry.StepMetrics(
                    counters=counters,
                    total_steps=total,
                    loss=loss,
                    learning_rate=learning_rate,
                    gradient_norm=norm,
                    seconds=seconds,
                    tokens=tokens,
                    supervised_tokens=supervised_tokens,
                    rss_bytes=memory.rss(),
                    device_bytes=torch.cuda.memory_allocated() if device != "cpu" else 0,
                )
            )
    return counters


def _accumulate_gradients(
    head: SelectiveHead,
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    max_norm: float,
) -> tuple[float, float]:
    """Accumulate and clip the gradient of a step; return the loss and the norm before clipping."""
    supervised_tokens = sum(len(batch.labels) for batch in batches)
    total = 0.0
    for batch in batches:
        loss = head.loss_sum(batch) / supervised_tokens
        torch.autograd.backward(loss)
        total += loss.item()
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    return total, float(torch.nn.utils.clip_grad_norm_(trainable, max_norm))


def _optimizer_step(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _check_finite(loss: float, norm: float, step: int, total: int, plan: recipe.Recipe) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    raise diverged(
        f"at step {step} of {total} the loss is {loss} and the gradient norm is {norm}", plan
    )


def diverged(cause: str, plan: recipe.Recipe) -> DivergedError:
    """Return the error for a run with a loss or gradient that is not finite."""
    return DivergedError(
        f"training diverged: {cause}; lower schedule.learningRate (now {plan.learning_rate:g}) or "
        f"raise schedule.warmupSteps (now {plan.warmup_steps})"
    )
