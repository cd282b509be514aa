"""Deriving the module table from a model.

Twice: from the architecture without weights, for the preflight, and from the model in memory.
`preflight` compares both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import bitsandbytes
import peft
import torch

from mens_trainer import model, module_table, recipe


def planned_modules(
    empty: torch.nn.Module,
    selection: model.ModuleSelection,
    plan: recipe.Recipe,
    dtype: recipe.ComputeDtype,
) -> list[module_table.ModuleGroup]:
    """Return the table that is expected after loading, from the architecture alone.

    Args:
        empty: The model on the meta device.
        selection: Modules to quantize and to adapt.
        plan: Sets the rank of the adapter.
        dtype: Compute dtype of all that is not quantized.
    """
    itemsize = getattr(torch, dtype).itemsize

    def group(
        name: str, module: torch.nn.Module, own: list[torch.Tensor]
    ) -> module_table.ModuleGroup:
        sizes = [p.numel() for p in own]
        quantized = name in selection.quantized
        weight = module_table.quantized_bytes(sizes[0]) if quantized else sizes[0] * itemsize
        trainable = 0
        if name in selection.adapted:
            linear = cast(torch.nn.Linear, module)
            trainable = plan.rank * (linear.in_features + linear.out_features)
        size = weight + sum(sizes[1:]) * itemsize
        kind, parameters = type(module).__name__, sum(sizes)
        return module_table.ModuleGroup(
            name, kind, 1, parameters, quantized, trainable > 0, trainable, size
        )

    return module_table.merge(group(*each) for each in _parameter_owners(empty))


def loaded_modules(adapted: peft.PeftModel) -> list[module_table.ModuleGroup]:
    """Return the table of a loaded model."""

    def group(
        name: str, module: torch.nn.Module, own: list[torch.Tensor]
    ) -> module_table.ModuleGroup:
        sizes = [p.numel() for p in own]
        stored = sum(p.numel() * p.element_size() for p in own)
        kind, quantized = type(module).__name__, False
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            kind = "Linear"
            state = module.weight.quant_state
            sizes[0] = math.prod(state.shape)
            # nested: the block constants are quantized too.
            quantized = state.quant_type == "nf4" and state.nested
            stored += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
        trainable = adapters.get(name, 0)
        return module_table.ModuleGroup(
            name, kind, 1, sum(sizes), quantized, trainable > 0, trainable, stored
        )

    base = adapted.get_base_model()
    adapters: dict[str, int] = {}
    for name, parameter in base.named_parameters():
        if parameter.requires_grad:
            owner = name.partition(".lora_")[0]
            adapters[owner] = adapters.get(owner, 0) + parameter.numel()
    owners = (
        (name.removesuffix(".base_layer"), module, own)
        for name, module, own in _parameter_owners(base)
        if ".lora_" not in name
    )
    return module_table.merge(group(*each) for each in owners)


def _parameter_owners(
    root: torch.nn.Module,
) -> Iterator[tuple[str, torch.nn.Module, list[torch.Tensor]]]:
    """Yield modules with parameters of their own; a tied parameter belongs to the first module."""
    seen: set[int] = set()
    for name, module in root.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(id(p) for p in own)
        if own:
            yield name, module, list(own)
