"""Estimating the peak memory of a run before a weight is read, and refusing what cannot fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mens.api import reasons
from mens.runtime import errors
from mens_trainer import data, module_table, recipe

_RUNTIME_BYTES: Final = 1300 * 2**20
"""Resident bytes of Python with torch, transformers and bitsandbytes once a model is loaded,
without the model [measured: 1130 to 1360 MiB on CPU, 815 of them after the imports]."""

_FRAGMENTATION_SHARE: Final = 0.5
"""Freed activations that the C library's allocator keeps and cannot reuse for the next, longer
batch, as a fraction of all activations [measured on CPU: 0.3 to 0.6]; none on accelerators."""

_ROW_BYTES: Final = 250
"""Bytes of the Python objects around a row's tokens."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimated bytes at the peak of training, by purpose."""

    weights: int
    """The frozen base, quantized."""
    adapter: int
    """The adapter's weights."""
    optimizer: int
    """Gradients and both moments of AdamW."""
    activations: int
    """Tensors of the forward pass that the backward pass needs, for one micro-batch."""
    logits: int
    """Logits, their gradient and the softmax, at the supervised positions only."""
    rows: int
    """The tokenized rows."""
    fragmentation: int
    """Freed activations and logits that the allocator cannot reuse."""
    runtime: int
    """The Python process and its libraries."""

    @property
    def total(self) -> int:
        """Sum of all fields."""
        return sum(dataclasses.astuple(self))

    def to_object(self) -> dict[str, int]:
        """Return a JSON object for training-preflight.json."""
        fields = dataclasses.asdict(self)
        fields["lost"] = fields.pop("fragmentation")
        return {**fields, "total": self.total}


def estimate(
    modules: Sequence[module_table.ModuleGroup],
    config: Any,
    plan: recipe.Recipe,
    train: data.Statistics,
    dtype: recipe.ComputeDtype,
    *,
    device: str,
) -> MemoryEstimate:
    """Estimate peak memory from the module table and the worst-case micro-batch.

    All rows of that micro-batch are as long as the longest row and have the maximum number of
    supervised tokens. Within 20 % of the measured peak for a small model on CPU; not measured on an
    accelerator yet.
    """
    itemsize = 2 if dtype == "bfloat16" else 4
    text = config.get_text_config()
    tokens = plan.micro_batch * train.max_length
    supervised_tokens = plan.micro_batch * train.max_supervised_tokens
    trainable = sum(group.trainable for group in modules)
    activations = tokens * text.num_hidden_layers * _activation_bytes(text, itemsize)
    # Softmax, its gradient and the gradient of the logits, each in float32.
    logits = 12 * supervised_tokens * text.vocab_size
    return MemoryEstimate(
        weights=sum(group.size for group in modules),
        adapter=4 * trainable,
        optimizer=12 * trainable,
        activations=activations,
        logits=logits,
        rows=5 * train.tokens + _ROW_BYTES * train.used,
        fragmentation=int(_FRAGMENTATION_SHARE * (activations + logits)) if device == "cpu" else 0,
        runtime=_RUNTIME_BYTES,
    )


def _activation_bytes(text: Any, itemsize: int) -> int:
    """Return the bytes per token and layer that the backward pass needs [counted: Llama, Qwen 3].

    Two norms in float32; queries, attention output, keys and values; three vectors of the MLP;
    and the inputs of the adapters, which are float32: in bfloat16 each of the seven adapters has
    its own copy, in float32 four do.
    """
    hidden: int = text.hidden_size
    intermediate: int = getattr(text, "intermediate_size", None) or 4 * hidden
    heads: int = getattr(text, "num_attention_heads", None) or 1
    keys = hidden * (getattr(text, "num_key_value_heads", None) or heads) // heads
    adapter_inputs = 6 * hidden + intermediate if itemsize == 2 else 2 * hidden + intermediate
    return 4 * (2 * hidden + adapter_inputs) + itemsize * (2 * hidden + 2 * keys + 3 * intermediate)


def check(needed: MemoryEstimate, available: int | None, plan: recipe.Recipe, device: str) -> None:
    """Refuse a run that cannot fit, with the numbers and the smallest change that would fit."""
    if available is None or needed.total <= available:
        return
    per_row = (needed.activations + needed.logits + needed.fragmentation) / plan.micro_batch
    fixed = needed.total - per_row * plan.micro_batch
    rows = int((available - fixed) // per_row) if available > fixed else 0
    if rows >= 1:
        change = f"set schedule.microBatchSize to {rows}"
    elif device == "cpu":
        change = f"set resources.memory to {_gib(needed.total)} or lower schedule.maxTokens"
    else:  # resources.memory is host memory
        change = (
            f"set resources.gpu.product to one with {_gib(needed.total)} or lower "
            "schedule.maxTokens"
        )
    raise errors.InvalidInputError(
        reasons.DOES_NOT_FIT,
        f"the run needs about {_gib(needed.total)} and {_gib(available)} are available (weights "
        f"{_gib(needed.weights)}, activations {_gib(needed.activations)}, logits "
        f"{_gib(needed.logits)}): {change}",
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}Gi"
