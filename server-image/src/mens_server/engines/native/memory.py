"""How many requests fit into memory together, known before the first one comes.

A slot's memory is touched only when a long request fills it: without this the pod would be killed
in the middle of answers, hours after it said that it was ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mens.api import reasons
from mens_server import model_validation

RUNTIME: Final = 512 << 20
"""Bytes beside tensors: Python, torch and transformers take 416 MiB [measured]; a step the rest."""
ADAPTER_SHARE: Final = 0.04
"""Bytes of an adapter per byte of the base: rank 16 on every linear layer of SmolLM2-135M."""
SMALLEST_CONTEXT: Final = 16
"""What `spec.limits.maxTokens` is at least."""

_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model takes."""

    fixed: int
    """Bytes whatever the number of slots: weights, adapters, the program itself."""
    position: int
    """Bytes of the keys and values of one token."""
    context: int
    """Tokens of a slot."""

    @property
    def slot(self) -> int:
        """Bytes of one slot."""
        return self.position * self.context


@dataclass(frozen=True, slots=True)
class Fit:
    """What was decided."""

    slots: int
    """Requests that can be computed together."""
    note: str = ""
    """What the user should know and can do; empty when all is as asked."""


def fit(needs: Needs, asked: int, limit: int | None, *, gpu: bool = False) -> Fit:
    """Return the requested slots, or as many as fit into `limit` bytes (None: unlimited).

    Fewer slots make requests wait and change no answer, so that is what happens, and it is said.
    With `gpu` the limit is that of a GPU, which no field of the spec can raise.

    Raises:
        InvalidModelError: Not even one slot fits.
    """
    if limit is None:
        return Fit(asked)
    slots = min(asked, (limit - needs.fixed) // needs.slot)
    if slots < 1:
        raise model_validation.InvalidModelError(reasons.DOES_NOT_FIT, _refusal(needs, limit, gpu))
    if slots == asked:
        return Fit(asked)
    return Fit(
        slots,
        f"{slots} requests are decoded together, not {asked}: {_parts(needs)}, and the limit is "
        f"{_gib(limit)}. Set spec.limits.maxBatchSize to {slots}, or "
        f"{_more(needs.fixed + asked * needs.slot, gpu)}.",
    )


def _more(count: int, gpu: bool) -> str:
    """What gives a pod so many bytes."""
    if gpu:
        return f"take a GPU of at least {_gib(count)}"
    return f"set spec.resources.memory to at least {_gib(count)}"


def _refusal(needs: Needs, limit: int, gpu: bool) -> str:
    context = (limit - needs.fixed) // needs.position
    ways = [_more(needs.fixed + needs.slot, gpu)]
    if context >= SMALLEST_CONTEXT:
        ways.append(f"set spec.limits.maxTokens to at most {context}")
    advice = ", or ".join(ways)
    return (
        f"Not one request fits: {_parts(needs)}, and the limit is {_gib(limit)}. "
        f"{advice[:1].upper()}{advice[1:]}."
    )


def _parts(needs: Needs) -> str:
    return (
        f"weights and program take {_gib(needs.fixed)}, each request of {needs.context} tokens "
        f"{_gib(needs.slot)}"
    )


def _gib(count: int) -> str:
    """Rounded up, so that what is advised fits."""
    return f"{-(-count * 100 // _GIB) / 100:.2f}Gi"
