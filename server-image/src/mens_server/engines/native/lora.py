"""Many LoRA adapters over one base, mixed token by token in one step.

For a linear layer with weight W and resident adapters 1…n the wrapper computes

    y = W x + B_all ((A_all x) ⊙ m)

where A_all stacks all A_i, B_all all s_i·B_i, and m, per token, is 1 on the ranks of the token's
adapter and 0 elsewhere (s_i = alpha/r, or alpha/√r for rsLoRA). One mask serves every layer, since
an adapter has the same span of ranks everywhere; a layer that it does not touch holds zeros. The
last layer sees only the tokens that draw, so it has a mask of these. Only the ranks between the
first and the last adapter of a step are computed. The base exists once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import safetensors
import torch
from safetensors import torch as safetensors_torch
from torch import nn

from mens.api import reasons
from mens_server import adapter_config, model_validation

MAX_RANK: Final = 256
"""Largest rank of an adapter; beyond it a full fine-tune is the better artifact."""

HEAD: Final = "lm_head"
"""The layer behind the last one, in every architecture that this server knows."""

_KEY: Final = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight$")


@dataclass
class LoraMapping:
    """Which ranks count for which token of the current step; read by every wrapped layer."""

    others: torch.Tensor | None = None
    """(T, high - low), true where a rank is not the token's own; None when all of them are."""
    low: int = 0
    """First rank that is computed."""
    high: int = 0
    """Last rank plus 1; equal to `low` when no token wants an adapter."""


class LinearWithLora(nn.Module):
    """A linear layer and the adapters on it."""

    def __init__(self, base: nn.Linear, mix: LoraMapping) -> None:
        super().__init__()
        self.base = base
        self._mix = mix
        weight = base.weight
        self.register_buffer("down", weight.new_zeros(0, base.in_features))
        self.register_buffer("up", weight.new_zeros(0, base.out_features))

    down: torch.Tensor
    """A_all: (ranks, in)."""
    up: torch.Tensor
    """B_all transposed and scaled: (ranks, out)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The base's result plus that of each token's adapter."""
        y: torch.Tensor = self.base(x)
        mix = self._mix
        if mix.low == mix.high:
            return y
        span = slice(mix.low, mix.high)
        inner = nn.functional.linear(x, self.down[span])
        if mix.others is not None:
            # Not a product: zero times what another adapter made infinite would be NaN.
            inner = inner.masked_fill(mix.others, 0)
        return y + inner @ self.up[span]

    def append(self, down: torch.Tensor, up: torch.Tensor) -> None:
        """Add ranks behind those that are there."""
        self.down = torch.cat([self.down, down.to(self.down)])
        self.up = torch.cat([self.up, up.to(self.up)])

    def pad(self, ranks: int) -> None:
        """Fill up with zeros to this number of ranks."""
        missing = ranks - self.down.shape[0]
        if missing > 0:
            self.append(
                self.down.new_zeros(missing, self.down.shape[1]),
                self.up.new_zeros(missing, self.up.shape[1]),
            )


@dataclass(frozen=True)
class Layers:
    """An adapter's tensors by the module they belong to."""

    rank: int
    """Largest rank among the modules."""
    downs: dict[str, torch.Tensor]
    """A: (r, in)."""
    ups: dict[str, torch.Tensor]
    """s·B transposed: (r, out)."""


def read(folder: Path, model: nn.Module) -> Layers:
    """Read a PEFT folder and check that every tensor fits a linear layer of the model.

    Raises:
        InvalidModelError: It is not a LoRA adapter of this model.
    """
    config = adapter_config.read(folder)
    path = folder / "adapter_model.safetensors"
    if not path.exists():
        raise _invalid("adapter_model.safetensors is missing.")
    parts: dict[str, dict[str, torch.Tensor]] = {"A": {}, "B": {}}
    try:
        tensors = safetensors_torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise _invalid(f"adapter_model.safetensors cannot be read: {error}.") from error
    for name, tensor in tensors.items():
        match = _KEY.match(name)
        if match is None:
            raise _invalid(f"The tensor {name!r} is not part of a LoRA on a linear layer.")
        parts[match["part"]][match["module"]] = tensor
    if parts["A"].keys() != parts["B"].keys() or not parts["A"]:
        raise _invalid("Its A and B matrices do not belong to the same layers.")
    modules = dict(model.named_modules())
    ups = {}
    for name, down in parts["A"].items():
        up = parts["B"][name]
        linear = _fitting(name, modules.get(name), down, up)
        rank = config.rank(name)
        if rank != down.shape[0]:
            raise _invalid(f"{name} has rank {down.shape[0]}, its configuration says {rank}.")
        ups[name] = up.T.float() * config.scale(name)
        for tensor in (down, ups[name]):
            if not torch.isfinite(tensor.to(linear.weight.dtype)).all():
                raise _invalid(f"{name} has weights that are not finite in {linear.weight.dtype}.")
    rank = max(down.shape[0] for down in parts["A"].values())
    return Layers(rank=rank, downs=parts["A"], ups=ups)


@dataclass
class Bank:
    """The adapters that are resident in a model."""

    model: nn.Module
    """Its linear layers are wrapped when the first adapter needs it."""
    mix: LoraMapping = field(default_factory=LoraMapping)
    """What the wrapped layers read."""
    head: LoraMapping = field(default_factory=LoraMapping)
    """What the last layer reads."""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Ranks of each adapter, by digest."""
    ranks: int = 0
    """Ranks of all adapters together."""
    _wrapped: dict[str, LinearWithLora] = field(default_factory=dict)

    def add(self, digest: str, layers: Layers) -> None:
        """Make an adapter resident; to be called between steps."""
        if digest in self.spans:
            return
        total = self.ranks + layers.rank
        for name in layers.downs.keys() - self._wrapped.keys():
            mix = self.head if name == HEAD else self.mix
            self._wrapped[name] = _wrap(self.model, name, mix)
        for name, module in self._wrapped.items():
            module.pad(self.ranks)
            if name in layers.downs:
                module.append(layers.downs[name], layers.ups[name])
            module.pad(total)
        self.spans[digest] = (self.ranks, total)
        self.ranks = total

    def choose(self, row: Sequence[tuple[str | None, int]], drawing: Sequence[int]) -> None:
        """Set the mix of a step.

        Args:
            row: Its tokens in order: (digest or None, number of tokens).
            drawing: Indices of the tokens that the last layer sees, in its order.
        """
        spans = [self.spans[digest] for digest, _ in row if digest is not None]
        low, high = (
            min((low for low, _ in spans), default=0),
            max((end for _, end in spans), default=0),
        )
        others = None
        if len({digest for digest, _ in row}) > 1:
            others = torch.ones(sum(count for _, count in row), high - low, dtype=torch.bool)
            first = 0
            for digest, count in row:
                if digest is not None:
                    start, stop = self.spans[digest]
                    others[first : first + count, start - low : stop - low] = False
                first += count
            others = others.to(next(self.model.parameters()).device)
        for mix in (self.mix, self.head):
            mix.low, mix.high, mix.others = low, high, others
        if others is not None:
            self.head.others = others[list(drawing)]


def _wrap(model: nn.Module, name: str, mix: LoraMapping) -> LinearWithLora:
    parent, _, leaf = name.rpartition(".")
    holder = model.get_submodule(parent)
    base = getattr(holder, leaf)
    wrapped = LinearWithLora(base, mix)
    setattr(holder, leaf, wrapped)
    return wrapped


def _fitting(
    name: str, module: nn.Module | None, down: torch.Tensor, up: torch.Tensor
) -> nn.Linear:
    """The linear layer that the tensors fit."""
    linear = module.base if isinstance(module, LinearWithLora) else module
    if not isinstance(linear, nn.Linear):
        raise _invalid(f"The base has no linear layer {name!r}.")
    fits = (
        down.ndim == up.ndim == 2
        and down.shape[0] == up.shape[1]
        and 1 <= down.shape[0] <= MAX_RANK
        and down.shape[1] == linear.in_features
        and up.shape[0] == linear.out_features
    )
    if not fits:
        raise _invalid(
            f"{name}: A {tuple(down.shape)} and B {tuple(up.shape)} do not fit a layer of "
            f"{linear.in_features} to {linear.out_features} (largest rank: {MAX_RANK})."
        )
    return linear


def _invalid(message: str) -> model_validation.InvalidModelError:
    return model_validation.InvalidModelError(
        reasons.ADAPTER_INVALID, f"{message} Train or publish it again."
    )
