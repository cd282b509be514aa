"""Training metrics, and telemetry.jsonl, where every step is recorded.

The keys of telemetry.jsonl are those of the upstream trainer, so its dashboards can read the file.
Counters count rows and tokens exactly and do not depend on the micro-batch size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE_NAME: Final = "telemetry.jsonl"
"""Name of the file in the adapter's folder."""

EMA_WEIGHT: Final = 0.1
"""Weight of the newest value in moving averages: about the last ten steps count."""


@dataclass(frozen=True)
class Counters:
    """Cumulative counters of a run; a checkpoint stores them, so that they survive a resume."""

    step: int = 0
    """Completed optimizer steps."""
    samples: int = 0
    """Rows trained on."""
    tokens: int = 0
    """Tokens trained on, without padding."""
    padded_tokens: int = 0
    """Tokens trained on, with padding."""
    supervised_tokens: int = 0
    """Supervised tokens trained on."""
    loss_ema: float | None = None
    """Exponential moving average of the loss."""
    step_seconds_ema: float | None = None
    """Exponential moving average of the seconds per step."""

    def after_step(
        self,
        loss: float,
        seconds: float,
        *,
        samples: int,
        tokens: int,
        padded_tokens: int,
        supervised_tokens: int,
    ) -> Counters:
        """Return the counters after one more step with these amounts."""
        return Counters(
            step=self.step + 1,
            samples=self.samples + samples,
            tokens=self.tokens + tokens,
            padded_tokens=self.padded_tokens + padded_tokens,
            supervised_tokens=self.supervised_tokens + supervised_tokens,
            loss_ema=_moving_average(self.loss_ema, loss, self.step + 1),
            step_seconds_ema=_moving_average(self.step_seconds_ema, seconds, self.step + 1),
        )


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of one optimizer step."""

    counters: Counters
    """Counters after the step."""
    total_steps: int
    """Steps of the run."""
    loss: float
    """Mean cross-entropy over the supervised tokens of the step, in nats."""
    learning_rate: float
    """Learning rate of the step."""
    gradient_norm: float
    """Norm of the gradient before clipping."""
    seconds: float
    """Duration of the step."""
    tokens: int
    """Tokens of the step, without padding."""
    supervised_tokens: int
    """Supervised tokens of the step."""
    rss_bytes: int
    """Resident set size of the process."""
    device_bytes: int
    """Memory allocated on the accelerator; 0 without one."""

    @property
    def tokens_per_second(self) -> float:
        """Throughput of the step, without padding."""
        return self.tokens / max(self.seconds, 1e-9)

    @property
    def eta_seconds(self) -> float:
        """Estimated seconds until the last step."""
        return (self.total_steps - self.counters.step) * (self.counters.step_seconds_ema or 0.0)


def _moving_average(average: float | None, value: float, count: int) -> float:
    """Return the next exponential moving average; a plain mean for the first few values."""
    weight = max(EMA_WEIGHT, 1 / count)
    return value if average is None else (1 - weight) * average + weight * value


class TelemetryWriter:
    """Appends events to telemetry.jsonl; each line is complete on disk before the next begins.

    Args:
        path: The file; an existing file is continued.
        clock: Seconds since the epoch, so that readers can join the file with other logs.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self.events: list[dict[str, Any]] = []

    def write(self, event: str, **fields: Any) -> None:
        """Append an event; numbers that JSON does not support (NaN, infinity) become null."""
        line = {"event": event, "timestamp": round(self._clock(), 3), **_replace_nonfinite(fields)}
        self.events.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def write_step(self, metrics: StepMetrics) -> None:
        """Append the event of an optimizer step."""
        counters = metrics.counters
        step_seconds = counters.step_seconds_ema or 0.0
        self.write(
            "step",
            step=counters.step,
            total_steps=metrics.total_steps,
            loss=round(metrics.loss, 6),
            loss_ema=round(counters.loss_ema or 0.0, 6),
            learning_rate=metrics.learning_rate,
            grad_norm=round(metrics.gradient_norm, 6),
            step_seconds=round(metrics.seconds, 4),
            steps_per_sec_ema=round(1 / step_seconds, 5) if step_seconds else None,
            eta_seconds_remaining=round(metrics.eta_seconds, 1),
            progress_fraction=round(counters.step / metrics.total_steps, 6),
            tokens_per_sec=round(metrics.tokens_per_second, 2),
            supervised_ratio_pct=round(
                100 * counters.supervised_tokens / max(1, counters.tokens), 3
            ),
            supervised_tokens=counters.supervised_tokens,
            valid_tokens=counters.tokens,
            theoretical_tokens=counters.padded_tokens,
            samples_seen=counters.samples,
            rss_bytes=metrics.rss_bytes,
            device_bytes=metrics.device_bytes,
        )


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _replace_nonfinite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nonfinite(each) for each in value]
    return value
