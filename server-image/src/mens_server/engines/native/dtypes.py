"""Which number format this processor computes fastest, found by trying."""

from __future__ import annotations

import logging
import time
from typing import Final

import torch
from torch.nn import functional

_log = logging.getLogger(__name__)

ROWS: Final = ((64, 4), (8, 48), (1, 48))
"""(tokens in a step, weight): pieces of prompts, a full batch, and a lone answer."""
LARGEST: Final = 2048
"""Longest side of the matrices that are tried: larger ones behave alike and take long."""
LAYERS: Final = 4
"""Matrices in turn, so that they do not all stay in the processor's cache."""


def choose_dtype(hidden: int, inner: int, device: torch.device) -> torch.dtype:
    """Return float32 or bfloat16, whichever takes less time for a typical mix of steps.

    GPUs are not tried: those that know bfloat16 are always faster with it.
    A processor without bfloat16 arithmetic is faster with it for one token (half the bytes), and
    up to 20 times slower for a prompt; only a measurement knows.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    shape = (min(inner, LARGEST), min(hidden, LARGEST))
    full = _seconds(torch.float32, shape, float("inf"))
    half = _seconds(torch.bfloat16, shape, full)
    best = torch.bfloat16 if half < full else torch.float32
    _log.info("computing in %s (float32 %.3f s, bfloat16 %.3f s)", best, full, half)
    return best


@torch.inference_mode()
def _seconds(dtype: torch.dtype, shape: tuple[int, int], enough: float) -> float:
    """Weighted seconds of the mix; stops counting when they are more than enough."""
    weights = [torch.ones(shape, dtype=dtype) for _ in range(LAYERS)]
    total = 0.0
    for rows, weight in ROWS:
        x = torch.ones(rows, shape[1], dtype=dtype)
        best = float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            for matrix in weights:
                functional.linear(x, matrix)
            best = min(best, time.perf_counter() - begin)
            # Neighbors can triple a time, but not make it ten times longer for nothing.
            if weight * best > 10 * enough:
                return weight * best
        total += weight * best
        if total > enough:
            break
    return total
