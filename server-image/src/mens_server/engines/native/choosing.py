"""Which number format this processor computes fastest, found by trying."""

from __future__ import annotations

import logging
import time
from typing import Final

import torch
from torch.nn import functional

_log = logging.getLogger(__name__)

ROWS: Final = ((1, 48), (8, 48), (64, 4))
"""(tokens in a step, weight): a lone answer, a full batch, and pieces of prompts."""


def choose_dtype(hidden: int, inner: int) -> torch.dtype:
    """Return float32 or bfloat16, whichever takes less time for a typical mix of steps.

    A processor without bfloat16 arithmetic is faster with it for one token (half the bytes), and
    up to 20 times slower for a prompt; only a measurement knows.
    """
    seconds = {
        dtype: sum(weight * _seconds(dtype, rows, hidden, inner) for rows, weight in ROWS)
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = min(seconds, key=lambda dtype: seconds[dtype])
    _log.info("dtype %s: %s", best, {str(key): f"{value:.3f}" for key, value in seconds.items()})
    return best


@torch.inference_mode()
def _seconds(dtype: torch.dtype, rows: int, hidden: int, inner: int) -> float:
    # Eight layers are more than fits into a processor's cache for most models.
    weights = [torch.ones(inner, hidden, dtype=dtype) for _ in range(8)]
    x = torch.ones(rows, hidden, dtype=dtype)
    functional.linear(x, weights[0])
    best = float("inf")
    for _ in range(2):
        begin = time.perf_counter()
        for weight in weights:
            functional.linear(x, weight)
        best = min(best, time.perf_counter() - begin)
    return best
