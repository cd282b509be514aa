"""Counters and telemetry.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mens_trainer import telemetry


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    """Every line is valid JSON."""
    log = telemetry.TelemetryWriter(tmp_path / "t.jsonl", lambda: 1.5)
    log.write("step", loss=float("nan"), more={"x": [float("inf"), 1.0]})
    line = json.loads((tmp_path / "t.jsonl").read_text(), parse_constant=pytest.fail)
    assert line == {"event": "step", "timestamp": 1.5, "loss": None, "more": {"x": [None, 1.0]}}


def test_moving_averages_begin_as_a_mean() -> None:
    """The first value does not have more weight than the others."""
    counters = telemetry.Counters()
    for loss in (1.0, 2.0, 6.0):
        counters = counters.after_step(
            loss, 1.0, samples=1, tokens=1, padded_tokens=1, supervised_tokens=1
        )
    assert counters.loss_ema == pytest.approx(3.0)
    assert counters.samples == counters.step == 3
