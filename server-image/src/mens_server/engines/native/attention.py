"""Attention over static key-value slots, for a step that packs many requests into one row.

A step is one row of T tokens without padding: first one token for each answer in progress, then
chunks of prompts. Linear layers see T rows; only attention knows which token belongs to whom. It
is registered as an attention implementation of transformers, so it serves every architecture
whose layers call the attention interface, and the model's own cache is never used.

Shapes: S slots, C positions per slot, K key-value heads, G query heads per key-value head,
H = K·G query heads, D size of a head, T tokens of the step.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

from mens_server.engines import scheduling

IMPLEMENTATION: Final = "mens_slots"
"""Name under which transformers finds `attend`."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a prompt in the row."""

    first: int
    """Index of its first token in the row."""
    count: int
    """Number of tokens."""
    slot: int
    """Whose keys and values it continues."""
    start: int
    """Position of its first token."""
    mask: torch.Tensor | None
    """Additive mask (count, start + count); None where causal order says all."""


@dataclass(frozen=True)
class Step:
    """How one row is split."""

    singles: int
    """Tokens at the front of the row that each continue an answer."""
    slots: torch.Tensor
    """Slot of each single token, ascending."""
    positions: torch.Tensor
    """Position of each single token."""
    low: int
    """Lowest slot among the single tokens."""
    high: int
    """Highest slot among them, plus 1."""
    length: int
    """Highest position among them, plus 1."""
    mask: torch.Tensor | None
    """Additive mask (high - low, 1, 1, length)."""
    chunks: tuple[Chunk, ...]
    """Pieces of prompts behind them."""


class SlotCache:
    """Keys and values of every slot, allocated once; pages are touched when they are used."""

    def __init__(
        self,
        *,
        layers: int,
        slots: int,
        context: int,
        heads: int,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (slots, heads, context, size)
        self.keys = [_zeros(shape, dtype, device) for _ in range(layers)]
        self.values = [_zeros(shape, dtype, device) for _ in range(layers)]

    def forget(self, segments: Sequence[scheduling.Segment]) -> None:
        """Zero what a step that failed may have written as NaN.

        Of several segments the earlier positions stay, since each is tried again. One alone ends
        its request, and earlier pieces of its prompt may hold NaN as well: a masked NaN is a NaN.
        """
        alone = len(segments) == 1
        for tensor in (*self.keys, *self.values):
            for item in segments:
                start = 0 if alone else item.start
                tensor[item.slot, :, start : item.start + len(item.tokens)] = 0


def arrange(
    segments: Sequence[scheduling.Segment], dtype: torch.dtype, device: torch.device
) -> tuple[list[scheduling.Segment], Step]:
    """Order the segments into a row and describe it, with tensors on the device."""
    singles = sorted((item for item in segments if len(item.tokens) == 1), key=_slot)
    longer = [item for item in segments if len(item.tokens) > 1]
    slots = [item.slot for item in singles]
    positions = [item.start for item in singles]
    chunks, first = [], len(singles)
    for item in longer:
        chunks.append(_chunk(item, first, dtype, device))
        first += len(item.tokens)
    low, high = (slots[0], slots[-1] + 1) if slots else (0, 0)
    length = max(positions, default=-1) + 1
    mask = None
    if slots:
        # A slot between two of ours that is not part of the step looks at position 0 only.
        last = torch.zeros(high - low, dtype=torch.long)
        last[torch.tensor(slots) - low] = torch.tensor(positions)
        hidden = torch.arange(length)[None, :] > last[:, None]
        mask = _additive(hidden, dtype)[:, None, None, :].to(device)
    step = Step(
        singles=len(singles),
        slots=torch.tensor(slots, dtype=torch.long, device=device),
        positions=torch.tensor(positions, dtype=torch.long, device=device),
        low=low,
        high=high,
        length=length,
        mask=mask,
        chunks=tuple(chunks),
    )
    return singles + longer, step


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    mens_step: Step,
    mens_cache: SlotCache,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer: (1, H, T, D) queries to (1, T, H, D) results."""
    del attention_mask  # The step knows better who may look at what.
    layer = module.layer_idx
    assert isinstance(layer, int)
    keys, values = mens_cache.keys[layer], mens_cache.values[layer]
    result = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
    if mens_step.singles:
        count = mens_step.singles
        keys[mens_step.slots, :, mens_step.positions] = key[0, :, :count].transpose(0, 1)
        values[mens_step.slots, :, mens_step.positions] = value[0, :, :count].transpose(0, 1)
        result[0, :count] = _attend_singles(
            query[0, :, :count].transpose(0, 1), keys, values, mens_step, scaling
        )
    for chunk in mens_step.chunks:
        row = slice(chunk.first, chunk.first + chunk.count)
        end = chunk.start + chunk.count
        keys[chunk.slot, :, chunk.start : end] = key[0, :, row]
        values[chunk.slot, :, chunk.start : end] = value[0, :, row]
        slot = slice(chunk.slot, chunk.slot + 1)
        attended = functional.scaled_dot_product_attention(
            query[:, :, row],
            keys[slot, :, :end],
            values[slot, :, :end],
            attn_mask=chunk.mask,
            is_causal=chunk.mask is None,
            scale=scaling,
            enable_gqa=True,
        )
        result[0, row] = attended[0].transpose(0, 1)
    return result, None


def _attend_singles(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, step: Step, scaling: float
) -> torch.Tensor:
    """One query token per slot; the G query heads of a key-value head stand on the query axis."""
    count, heads, size = query.shape
    width = step.high - step.low
    if width != count:
        spread = query.new_zeros(width, heads, size)
        spread[step.slots - step.low] = query
        query = spread
    grouped = query.reshape(width, keys.shape[1], -1, size)
    attended = functional.scaled_dot_product_attention(
        grouped,
        keys[step.low : step.high, :, : step.length],
        values[step.low : step.high, :, : step.length],
        attn_mask=step.mask,
        scale=scaling,
    ).reshape(width, heads, size)
    return attended if width == count else attended[step.slots - step.low]


def _chunk(
    segment: scheduling.Segment, first: int, dtype: torch.dtype, device: torch.device
) -> Chunk:
    count, start = len(segment.tokens), segment.start
    mask = None
    if start:
        hidden = torch.arange(start + count)[None, :] > torch.arange(start, start + count)[:, None]
        mask = _additive(hidden, dtype).to(device)
    return Chunk(first=first, count=count, slot=segment.slot, start=start, mask=mask)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros; in main memory they take it only where they are written, torch.zeros everywhere.

    Zeros and not whatever was there: a hidden position weighs 0, and 0 times a stray NaN is NaN.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def _additive(hidden: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)


def _slot(segment: scheduling.Segment) -> int:
    return segment.slot
