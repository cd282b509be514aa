"""A training run on local folders: preflight, load, evaluate, train, evaluate, save.

Uses no store and no cluster: `job` fetches the inputs and publishes the result, and `mens train`
runs it from the command line.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from mens.runtime import errors, jobs
from mens_trainer import (
    loop,
    memory,
    model,
    preflight,
    preparation,
    progress,
    recipe,
    report,
    telemetry,
)

_LOG = logging.getLogger(__name__)

_PACKAGES: Final = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "mens")
"""Packages whose versions affect the result."""


@dataclass(frozen=True)
class Result:
    """Metrics of a finished run."""

    base_eval_loss: float
    """Held-out loss of the base model, in nats per supervised token."""
    eval_loss: float
    """Held-out loss with the adapter."""
    counters: telemetry.Counters
    """Steps, rows and tokens."""
    tokens_per_second: float
    """Training throughput, without padding."""
    peak_rss: int
    """Peak resident set size of the process, in bytes."""
    preflight_digest: str
    """Digest of the preflight contract."""
    compute_dtype: recipe.ComputeDtype
    """Dtype of matrix products."""
    target_modules: tuple[str, ...]
    """Last parts of the names of the adapted modules."""
    phase_seconds: Mapping[str, float]
    """Seconds of each phase."""


class PhaseTimer:
    """Measures the phases of a run and reports their start.

    Args:
        log: Receives an event at the end of each phase.
        on_progress: Called at the start of each phase.
    """

    def __init__(
        self, log: telemetry.TelemetryWriter, on_progress: progress.ProgressCallback
    ) -> None:
        self._log = log
        self._on_progress = on_progress
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a phase; its name is one CamelCase word."""
        self._on_progress(jobs.Progress(stage=name))
        begin, cpu_begin = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 2)
        cpu = round(time.process_time() - cpu_begin, 2)
        self._log.write("phase", name=name, seconds=self.seconds[name], cpu_seconds=cpu)
        _LOG.info("%s took %.1f s (%.1f CPU s)", name, self.seconds[name], cpu)


def run(
    inputs: preparation.Inputs,
    plan: recipe.Recipe,
    into: Path,
    on_progress: progress.ProgressCallback,
) -> Result:
    """Train an adapter and save it in `into`, with telemetry, preflight and report.

    Raises:
        errors.JobError: The inputs cannot be trained on, training diverged, or memory ran out.
    """
    with _convert_out_of_memory(plan):
        return _run(inputs, plan, into, on_progress)


def _run(
    inputs: preparation.Inputs,
    plan: recipe.Recipe,
    into: Path,
    on_progress: progress.ProgressCallback,
) -> Result:
    device = configure_torch(inputs.threads)
    into.mkdir(parents=True, exist_ok=True)
    log = telemetry.TelemetryWriter(into / telemetry.FILE_NAME, time.time)
    phases = PhaseTimer(log, on_progress)
    with phases.phase("Preflight"):
        prepared = preparation.prepare(inputs, plan, device)
        prepared.preflight.write(into / preflight.FILE_NAME)
    with phases.phase("Loading"):
        causal = prepared.load(inputs.base, device)
    with phases.phase("EvaluatingBase"):
        base_eval_loss = loop.evaluate(causal, prepared.validation, plan, device)
    _check_base_eval_loss(base_eval_loss, prepared.preflight.compute_dtype)
    _LOG.info("held-out loss of the base: %.4f", base_eval_loss)
    log.write("train_start", **_train_start(inputs, plan, prepared, base_eval_loss))
    with phases.phase("Training"):
        begin = time.perf_counter()
        counters = loop.train(
            causal,
            prepared.train,
            plan,
            lambda metrics: _report_step(metrics, log, on_progress),
            device=device,
        )
        seconds = time.perf_counter() - begin
    with phases.phase("Evaluating"):
        eval_loss = loop.evaluate(causal, prepared.validation, plan, device)
    if not math.isfinite(eval_loss):
        raise loop.diverged(f"the held-out loss is {eval_loss} after {counters.step} steps", plan)
    _LOG.info("held-out loss: %.4f before, %.4f after", base_eval_loss, eval_loss)
    with phases.phase("Saving"):
        causal.save_pretrained(into, safe_serialization=True)
    result = Result(
        base_eval_loss=base_eval_loss,
        eval_loss=eval_loss,
        counters=counters,
        tokens_per_second=counters.tokens / seconds,
        peak_rss=memory.peak_rss(),
        preflight_digest=prepared.preflight.digest,
        compute_dtype=prepared.preflight.compute_dtype,
        target_modules=tuple(
            sorted({name.rpartition(".")[2] for name in prepared.selection.adapted})
        ),
        phase_seconds=phases.seconds,
    )
    log.write("train_complete", **_train_complete(result))
    page = report.render(inputs.name, _report_summary(inputs, plan, result), log.events)
    (into / report.FILE_NAME).write_text(page, encoding="utf-8")
    return result


def configure_torch(threads: int) -> str:
    """Set the number of threads, silence library warnings, and return the compute device."""
    torch.set_num_threads(max(1, threads))
    # peft uses an attribute that transformers renamed; users cannot fix that.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return "cuda" if torch.cuda.is_available() else "cpu"


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that affect the result."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _report_step(
    metrics: telemetry.StepMetrics,
    log: telemetry.TelemetryWriter,
    on_progress: progress.ProgressCallback,
) -> None:
    log.write_step(metrics)
    on_progress(progress.from_step(metrics))


def _check_base_eval_loss(loss: float, dtype: recipe.ComputeDtype) -> None:
    """Refuse a base whose own loss is not finite: no setting of the run can fix that."""
    if not math.isfinite(loss):
        raise model.base_model_invalid(
            f"its held-out loss before training is {loss}, so its weights contain NaN or values "
            f"too large for {dtype}"
        )


def _train_start(
    inputs: preparation.Inputs,
    plan: recipe.Recipe,
    prepared: preparation.PreparedRun,
    base_eval_loss: float,
) -> dict[str, Any]:
    """Return the fields of the telemetry event `train_start`."""
    planned = prepared.preflight
    return {
        "run_name": inputs.name,
        "total_steps": planned.total_steps,
        "train_rows": len(prepared.train),
        "validation_rows": len(prepared.validation),
        "validation_loss": round(base_eval_loss, 6),
        "trainable_parameters": sum(group.trainable for group in planned.modules),
        "compute_dtype": planned.compute_dtype,
        "preflight_digest": planned.digest,
        "recipe": plan.to_object(),
        "threads": inputs.threads,
        "versions": package_versions(),
    }


def _train_complete(result: Result) -> dict[str, Any]:
    """Return the fields of the telemetry event `train_complete`."""
    counters = result.counters
    return {
        "step": counters.step,
        "progress_fraction": 1.0,
        "samples_seen": counters.samples,
        "supervised_tokens": counters.supervised_tokens,
        "valid_tokens": counters.tokens,
        "theoretical_tokens": counters.padded_tokens,
        "supervised_ratio_pct": round(
            100 * counters.supervised_tokens / max(1, counters.tokens), 3
        ),
        "tokens_per_sec": round(result.tokens_per_second, 2),
        "loss_ema": round(counters.loss_ema or 0.0, 6),
        "validation_loss_before": round(result.base_eval_loss, 6),
        "validation_loss": round(result.eval_loss, 6),
        "peak_rss_bytes": result.peak_rss,
        "phase_seconds": dict(result.phase_seconds),
    }


def _report_summary(
    inputs: preparation.Inputs, plan: recipe.Recipe, result: Result
) -> dict[str, str]:
    """Return the table at the top of report.html."""
    counters = result.counters
    return {
        "Held-out loss": f"{result.base_eval_loss:.4f} → {result.eval_loss:.4f} nats per "
        "supervised token",
        "Steps": f"{counters.step} of {plan.batch} rows, {counters.supervised_tokens} supervised "
        f"tokens of {counters.tokens}",
        "Method": f"{'NF4 with double quantization, ' if plan.quantization else ''}LoRA rank "
        f"{plan.rank}, alpha {plan.alpha}, computed in {result.compute_dtype}",
        "Throughput": f"{result.tokens_per_second:.0f} tokens/s on {inputs.threads} threads",
        "Peak memory": f"{result.peak_rss / 2**20:.0f} MiB",
        "Seconds": ", ".join(f"{name} {value:g}" for name, value in result.phase_seconds.items()),
        "Preflight": result.preflight_digest,
    }


@contextlib.contextmanager
def _convert_out_of_memory(plan: recipe.Recipe) -> Iterator[None]:
    """Convert every kind of out-of-memory error into `errors.OutOfMemoryError`."""
    try:
        yield
    except Exception as e:
        if not memory.is_out_of_memory(e):
            raise
        raise errors.OutOfMemoryError(
            f"memory ran out with a micro-batch of {plan.micro_batch} rows of up to "
            f"{plan.max_tokens} tokens: the next attempt halves the micro-batch; to avoid this, "
            "raise resources.memory or lower schedule.maxTokens"
        ) from e
