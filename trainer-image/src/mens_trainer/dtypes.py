"""Choosing the compute dtype by measuring matrix products."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final

import torch

from mens_trainer import recipe

_REPETITIONS: Final = 20
"""Measurements of each dtype; a few milliseconds in total."""
_MAX_BFLOAT16_RATIO: Final = 0.9
"""bfloat16 must take less than this fraction of float32's time. If both are about equally fast, the
choice is float32, so that another attempt chooses it too."""


def fastest(device: str, hidden_size: int, intermediate_size: int) -> recipe.ComputeDtype:
    """Return the compute dtype; measured where it depends on the processor.

    bfloat16 is 22 times slower than float32 on a processor with AVX2 only, and 1.5 times faster
    on one with AVX512-bf16. Accelerators that support bfloat16 use it.
    """
    if device != "cpu":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    dtypes = (torch.float32, torch.bfloat16)
    float32, bfloat16 = _matmul_seconds(hidden_size, intermediate_size, dtypes)
    return "bfloat16" if bfloat16 < _MAX_BFLOAT16_RATIO * float32 else "float32"


def _matmul_seconds(
    hidden_size: int, intermediate_size: int, dtypes: Sequence[torch.dtype]
) -> list[float]:
    """Return the minimum seconds of [128, hidden] × [hidden, intermediate] in each dtype.

    Alternates between the dtypes after a warmup, so that a load peak of a neighbor affects all of
    them: the choice is part of the preflight digest.
    """
    pairs = [
        (
            torch.ones(128, hidden_size, dtype=dtype),
            torch.ones(hidden_size, intermediate_size, dtype=dtype),
        )
        for dtype in dtypes
    ]
    seconds = [math.inf] * len(pairs)
    for repetition in range(_REPETITIONS + 1):
        for i, (left, right) in enumerate(pairs):
            begin = time.perf_counter()
            left @ right
            if repetition:
                seconds[i] = min(seconds[i], time.perf_counter() - begin)
    return seconds
