"""A run on local folders: preflight, load, measure, train, measure, save.

Knows no bucket and no cluster; `running` brings the inputs and publishes what comes out, a person
calls it by `mens train`.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

from mens.runtime import jobs, machine
from mens_trainer import (
    chat,
    data,
    errors,
    loop,
    memory,
    model,
    preflight,
    recipe,
    report,
    telemetry,
)

_LOG = logging.getLogger(__name__)

_PACKAGES: Final = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "mens")
"""Packages whose versions a result depends on."""


@dataclass(frozen=True)
class Inputs:
    """What a run reads."""

    name: str
    """Name of the run."""
    base: Path
    """Folder of the base model, Hugging Face layout."""
    corpus: Path
    """Folder with train.jsonl.zst and validation.jsonl.zst."""
    identity: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Digests of base and corpus, for the preflight's contract."""
    compliance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Licenses of the inputs, for the preflight's contract."""
    threads: int = 1
    """CPU threads."""


@dataclass(frozen=True)
class Outcome:
    """What a run found out."""

    before: float
    """Held-out loss of the base, nats per token."""
    after: float
    """Held-out loss with the adapter."""
    counters: telemetry.Counters
    """Steps, rows and tokens."""
    tokens_per_second: float
    """Tokens per second of training, padding not counted."""
    peak_rss: int
    """Most resident bytes of the process."""
    preflight_digest: str
    """Digest of the preflight's contract."""
    compute_dtype: recipe.ComputeDtype
    """What matrices were multiplied in."""
    targets: tuple[str, ...]
    """Kinds of modules with an adapter."""
    seconds: Mapping[str, float]
    """Seconds of each phase."""


class Phases:
    """Times phases and says which one runs.

    Args:
        log: Where a phase's end is written down.
        tell: Told of every beginning.
    """

    def __init__(self, log: telemetry.Telemetry, tell: telemetry.Reporter) -> None:
        self._log = log
        self._tell = tell
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase, called by one CamelCase word."""
        self._tell(jobs.Progress(stage=name))
        begin, used = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 2)
        cpu = round(time.process_time() - used, 2)
        self._log.write("phase", name=name, seconds=self.seconds[name], cpu_seconds=cpu)
        _LOG.info("%s took %.1f s (%.1f CPU s)", name, self.seconds[name], cpu)


def run(inputs: Inputs, plan: recipe.Recipe, into: Path, tell: telemetry.Reporter) -> Outcome:
    """Train an adapter and leave it in `into`, with telemetry, preflight and report.

    Raises:
        errors.TrainError: The inputs cannot be trained on, or memory ran out.
    """
    with _out_of_memory_named(plan):
        return _run(inputs, plan, into, tell)


def _run(inputs: Inputs, plan: recipe.Recipe, into: Path, tell: telemetry.Reporter) -> Outcome:
    device = settle(inputs.threads)
    into.mkdir(parents=True, exist_ok=True)
    log = telemetry.Telemetry(into / telemetry.FILE_NAME, time.time)
    phases = Phases(log, tell)
    with phases.phase("Preflight"):
        prepared = prepare(inputs, plan, device)
        prepared.contract.write(into / preflight.FILE_NAME)
    with phases.phase("Loading"):
        causal = prepared.load(inputs.base, device)
    with phases.phase("EvaluatingBase"):
        before = loop.evaluate(causal, prepared.validation, plan, device)
    _must_be_sound(before, prepared.contract.compute_dtype)
    _LOG.info("held-out loss of the base: %.4f", before)
    log.write("train_start", **_start(inputs, plan, prepared, before))
    with phases.phase("Training"):
        begin = time.perf_counter()
        counters = loop.train(
            causal, prepared.train, plan, lambda facts: _observe(facts, log, tell), device=device
        )
        seconds = time.perf_counter() - begin
    with phases.phase("Evaluating"):
        after = loop.evaluate(causal, prepared.validation, plan, device)
    if not math.isfinite(after):
        raise loop.diverged(f"the held-out loss is {after} after {counters.step} steps", plan)
    _LOG.info("held-out loss: %.4f before, %.4f after", before, after)
    with phases.phase("Saving"):
        causal.save_pretrained(into, safe_serialization=True)
    outcome = Outcome(
        before=before,
        after=after,
        counters=counters,
        tokens_per_second=counters.tokens / seconds,
        peak_rss=memory.peak_rss(),
        preflight_digest=prepared.contract.digest,
        compute_dtype=prepared.contract.compute_dtype,
        targets=tuple(sorted({name.rpartition(".")[2] for name in prepared.want.adapted})),
        seconds=phases.seconds,
    )
    log.write("train_complete", **_end(outcome))
    page = report.render(inputs.name, _facts(inputs, plan, outcome), log.events)
    (into / report.FILE_NAME).write_text(page, encoding="utf-8")
    return outcome


@dataclass(frozen=True)
class Prepared:
    """A run that has passed its preflight."""

    contract: preflight.Preflight
    """What will be done."""
    train: list[data.Example]
    """Rows to train on."""
    validation: list[data.Example]
    """Held-out rows."""
    want: model.Wanted
    """Modules to quantize and to adapt."""

    def load(self, folder: Path, device: str) -> Any:
        """Base and adapter in memory, compared with the contract."""
        plan = self.contract.plan
        base = model.load(folder, plan, self.want, self.contract.compute_dtype, device)
        causal = model.adapt(base, plan, self.want)
        self.contract.compare(model.loaded_parts(causal))
        return causal


def settle(threads: int) -> str:
    """Set threads and quiet the libraries; returns the device to compute on."""
    torch.set_num_threads(max(1, threads))
    # peft asks transformers for a name that was renamed; nothing a user could do about it.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return "cuda" if torch.cuda.is_available() else "cpu"


def prepare(inputs: Inputs, plan: recipe.Recipe, device: str) -> Prepared:
    """Everything that can be known before a weight is read; refuses what cannot work."""
    config = model.read_config(inputs.base)
    tokenizer = model.read_tokenizer(inputs.base)
    encoder = chat.Encoder(tokenizer)
    empty = model.skeleton(config)
    want = model.wanted(empty, plan)
    model.check_coverage(empty, want)
    text = config.get_text_config()
    train, train_facts = data.tokenize(data.rows(inputs.corpus / data.TRAIN), encoder, plan)
    limits = {
        "vocabulary": text.vocab_size,
        "context": getattr(text, "max_position_embeddings", None),
    }
    data.check("train", train_facts, **limits)
    validation, validation_facts = data.tokenize(
        data.rows(inputs.corpus / data.VALIDATION), encoder, plan, at_most=plan.evaluation_rows
    )
    data.check("validation", validation_facts, **limits)
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    dtype = model.fastest_dtype(device, text.hidden_size, inner)
    parts = model.planned_parts(empty, want, plan, dtype)
    contract = preflight.Preflight(
        identity={
            **inputs.identity,
            "config": preflight.file_digest(inputs.base / "config.json"),
            "tokenizer": preflight.file_digest(
                *(inputs.base / n for n in ("tokenizer.json", "tokenizer_config.json")),
                inputs.base / "chat_template.jinja",
            ),
        },
        compute_dtype=dtype,
        plan=plan,
        total_steps=plan.total_steps(len(train)),
        parts=parts,
        train=train_facts,
        validation=validation_facts,
        compliance=inputs.compliance,
        guess=preflight.estimate(parts, config, plan, train_facts, dtype, device=device),
        available=available(device),
    )
    preflight.check_fit(contract.guess, contract.available, plan, device)
    _LOG.info("preflight: %s", summary(contract))
    return Prepared(contract, train, validation, want)


def available(device: str) -> int | None:
    """Bytes that the run may use where it computes."""
    if device == "cpu":
        return machine.memory_limit()
    return int(torch.cuda.get_device_properties(0).total_memory)


def summary(contract: preflight.Preflight) -> str:
    """The plan in a line."""
    quantized = sum(part.count for part in contract.parts if part.quantized)
    trainable = sum(part.trainable for part in contract.parts)
    rows = contract.train
    return (
        f"{rows.used} of {rows.rows} rows ({rows.too_long} too long), "
        f"{100 * rows.supervised_share:.0f} % of {rows.tokens} tokens supervised, "
        f"{contract.total_steps} steps; {quantized} layers in NF4, {trainable} trainable "
        f"parameters, {contract.compute_dtype}, about {contract.guess.total / 2**30:.1f} GiB; "
        f"{contract.digest}"
    )


def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _observe(
    facts: telemetry.StepFacts, log: telemetry.Telemetry, tell: telemetry.Reporter
) -> None:
    log.step(facts)
    tell(telemetry.to_progress(facts))


def _must_be_sound(before: float, dtype: recipe.ComputeDtype) -> None:
    """Refuse a base whose own loss is no number: no setting of the run could mend that."""
    if not math.isfinite(before):
        raise model.refuse(
            f"its held-out loss is {before} before any training, so its weights hold values that "
            f"are no numbers or too large for {dtype}"
        )


def _start(
    inputs: Inputs, plan: recipe.Recipe, prepared: Prepared, before: float
) -> dict[str, Any]:
    contract = prepared.contract
    return {
        "run_name": inputs.name,
        "total_steps": contract.total_steps,
        "train_rows": len(prepared.train),
        "validation_rows": len(prepared.validation),
        "validation_loss": round(before, 6),
        "trainable_parameters": sum(part.trainable for part in contract.parts),
        "compute_dtype": contract.compute_dtype,
        "preflight_digest": contract.digest,
        "recipe": plan.to_object(),
        "threads": inputs.threads,
        "versions": versions(),
    }


def _end(outcome: Outcome) -> dict[str, Any]:
    done = outcome.counters
    return {
        "step": done.step,
        "progress_fraction": 1.0,
        "samples_seen": done.samples,
        "supervised_tokens": done.targets,
        "valid_tokens": done.tokens,
        "theoretical_tokens": done.padded,
        "supervised_ratio_pct": round(100 * done.targets / max(1, done.tokens), 3),
        "tokens_per_sec": round(outcome.tokens_per_second, 2),
        "loss_ema": round(done.loss_ema or 0.0, 6),
        "validation_loss_before": round(outcome.before, 6),
        "validation_loss": round(outcome.after, 6),
        "peak_rss_bytes": outcome.peak_rss,
        "phase_seconds": dict(outcome.seconds),
    }


def _facts(inputs: Inputs, plan: recipe.Recipe, outcome: Outcome) -> dict[str, str]:
    return {
        "Held-out loss": f"{outcome.before:.4f} → {outcome.after:.4f} nats per answer token",
        "Steps": f"{outcome.counters.step} of {plan.batch} rows, {outcome.counters.targets} answer "
        f"tokens of {outcome.counters.tokens}",
        "Method": f"{'NF4 with double quantization, ' if plan.quantization else ''}LoRA rank "
        f"{plan.rank}, alpha {plan.alpha}, computed in {outcome.compute_dtype}",
        "Throughput": f"{outcome.tokens_per_second:.0f} tokens/s on {inputs.threads} threads",
        "Peak memory": f"{outcome.peak_rss / 2**20:.0f} MiB",
        "Seconds": ", ".join(f"{name} {value:g}" for name, value in outcome.seconds.items()),
        "Preflight": outcome.preflight_digest,
    }


@contextlib.contextmanager
def _out_of_memory_named(plan: recipe.Recipe) -> Iterator[None]:
    """Convert the ways in which memory runs out into `errors.OutOfMemory`."""
    try:
        yield
    except Exception as e:
        if not memory.ran_out(e):
            raise
        raise _out_of_memory(plan) from e


def _out_of_memory(plan: recipe.Recipe) -> errors.OutOfMemory:
    return errors.OutOfMemory(
        f"memory ran out with {plan.micro_batch} rows at once and up to {plan.max_tokens} tokens: "
        "the next attempt takes half the rows; otherwise raise resources.memory or lower "
        "schedule.maxTokens"
    )
