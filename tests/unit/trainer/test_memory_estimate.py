"""The memory estimate, and refusing runs that cannot fit."""

from __future__ import annotations

import dataclasses

import pytest

from mens.api import reasons
from mens.runtime import errors
from mens_trainer import data, memory_estimate, module_table, recipe
from tests.support import models


@pytest.mark.parametrize(
    ("device", "field"), [("cpu", r"resources\.memory"), ("cuda", r"resources\.gpu\.product")]
)
def test_the_fix_names_the_field_of_the_device(device: str, field: str) -> None:
    """`resources.memory` is host memory: it does not add memory to an accelerator."""
    fields = dataclasses.fields(memory_estimate.MemoryEstimate)
    needed = memory_estimate.MemoryEstimate(*(2**30 for _ in fields))
    with pytest.raises(errors.InvalidInputError, match=field) as caught:
        memory_estimate.check(needed, 2**30, recipe.Recipe(micro_batch=1), device)
    assert caught.value.reason == reasons.DOES_NOT_FIT


def test_the_estimate_uses_the_worst_case_micro_batch() -> None:
    """900 short answers do not hide that the 100 long ones may share a micro-batch."""
    statistics = data.Statistics(
        rows=1000, used=1000, too_long=0, unsupervised=0, tokens=280_000,
        supervised_tokens=122_000, max_length=1000, max_supervised_tokens=950, max_token_id=1,
    )  # fmt: skip
    estimate = memory_estimate.estimate(
        [], models.config(), recipe.Recipe(micro_batch=4), statistics, "float32", device="cuda"
    )
    assert estimate.logits == 12 * 4 * 950 * 320
    assert estimate.rows > 5 * statistics.tokens
    assert estimate.fragmentation == 0


def test_quantization_takes_little_more_than_four_bits() -> None:
    """4.127 bits per parameter."""
    assert 8 * module_table.quantized_bytes(2**24) / 2**24 == pytest.approx(4.127, abs=0.001)
