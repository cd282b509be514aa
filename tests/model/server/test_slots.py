"""The key-value slots after a step that failed."""

from __future__ import annotations

import pytest
import torch

from mens_server.engines import scheduling
from mens_server.engines.native import attention

pytestmark = pytest.mark.model


def segment(slot: int, start: int, count: int) -> scheduling.Segment:
    return scheduling.Segment(
        scheduled=None,  # type: ignore[arg-type]  # the cache looks at places only
        slot=slot,
        start=start,
        tokens=tuple(range(count)),
        sample=True,
    )


def cache() -> attention.SlotCache:
    made = attention.SlotCache(
        layers=2,
        slots=2,
        context=8,
        heads=1,
        size=4,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    for tensor in (*made.keys, *made.values):
        tensor[:, :, :6] = torch.nan
    return made


def test_a_request_that_failed_alone_leaves_nothing() -> None:
    """Earlier pieces of its prompt may hold NaN too; masked, it would spoil who comes next."""
    made = cache()
    made.forget([segment(1, 4, 2)])
    for tensor in (*made.keys, *made.values):
        assert torch.isfinite(tensor[1]).all()
        assert torch.isnan(tensor[0, :, :6]).all()


def test_requests_that_are_tried_again_keep_what_they_had() -> None:
    """Of several in a step that failed only the pieces of that step go."""
    made = cache()
    made.forget([segment(0, 5, 1), segment(1, 4, 2)])
    for tensor in (*made.keys, *made.values):
        assert torch.isnan(tensor[0, :, :5]).all()
        assert torch.isnan(tensor[1, :, :4]).all()
        assert torch.isfinite(tensor[0, :, 5:]).all()
        assert torch.isfinite(tensor[1, :, 4:]).all()
