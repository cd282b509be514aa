"""Preparing a run: tokenize the rows, select the modules, run the preflight, load the model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mens.runtime import machine
from mens_trainer import (
    chat_template,
    data,
    dtypes,
    inspection,
    memory_estimate,
    model,
    preflight,
    recipe,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """Inputs of a run."""

    name: str
    """Name of the run."""
    base: Path
    """Folder of the base model, Hugging Face layout."""
    corpus: Path
    """Folder with train.jsonl.zst and validation.jsonl.zst."""
    identity: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Digests of base and corpus, for the preflight contract."""
    compliance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Licenses of the inputs, for the preflight contract."""
    threads: int = 1
    """CPU threads."""


@dataclass(frozen=True)
class PreparedRun:
    """A run that has passed its preflight."""

    preflight: preflight.Preflight
    """The plan of the run."""
    train: list[data.Example]
    """Training rows."""
    validation: list[data.Example]
    """Held-out rows."""
    selection: model.ModuleSelection
    """Modules to quantize and to adapt."""

    def load(self, folder: Path, device: str) -> Any:
        """Load the base, attach the adapter and compare both with the preflight."""
        base = model.load(folder, self.selection, self.preflight.compute_dtype, device)
        causal = model.attach_adapter(base, self.preflight.plan, self.selection)
        self.preflight.check_loaded(inspection.loaded_modules(causal))
        return causal


def prepare(inputs: Inputs, plan: recipe.Recipe, device: str) -> PreparedRun:
    """Run the preflight: everything that can be checked before a weight is read.

    Raises:
        errors.InvalidInputError: The base or the corpus cannot be used, or the run does not fit.
    """
    config = model.read_config(inputs.base)
    encoder = chat_template.ChatEncoder(model.read_tokenizer(inputs.base))
    empty = model.build_empty(config)
    selection = model.select_modules(empty, plan)
    model.check_coverage(empty, selection)
    text = config.get_text_config()
    train, train_statistics = data.tokenize(
        data.read_rows(inputs.corpus / data.TRAIN), encoder, plan
    )
    limits = {
        "vocab_size": text.vocab_size,
        "max_positions": getattr(text, "max_position_embeddings", None),
    }
    data.validate("train", train_statistics, **limits)
    validation, validation_statistics = data.tokenize(
        data.read_rows(inputs.corpus / data.VALIDATION),
        encoder,
        plan,
        max_rows=plan.evaluation_rows,
    )
    data.validate("validation", validation_statistics, **limits)
    intermediate_size = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    dtype = dtypes.fastest(device, text.hidden_size, intermediate_size)
    modules = inspection.planned_modules(empty, selection, plan, dtype)
    planned = preflight.Preflight(
        identity=_identity(inputs),
        compute_dtype=dtype,
        plan=plan,
        total_steps=plan.total_steps(len(train)),
        modules=modules,
        train=train_statistics,
        validation=validation_statistics,
        compliance=inputs.compliance,
        memory=memory_estimate.estimate(
            modules, config, plan, train_statistics, dtype, device=device
        ),
        available_memory=available_memory(device),
    )
    memory_estimate.check(planned.memory, planned.available_memory, plan, device)
    _LOG.info("preflight: %s", summarize(planned))
    return PreparedRun(planned, train, validation, selection)


def _identity(inputs: Inputs) -> dict[str, str]:
    """Return the digests that identify base, corpus, configuration and tokenizer."""
    tokenizer_files = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    return {
        **inputs.identity,
        "config": preflight.file_digest(inputs.base / "config.json"),
        "tokenizer": preflight.file_digest(*(inputs.base / name for name in tokenizer_files)),
    }


def available_memory(device: str) -> int | None:
    """Return the bytes that the run may use on its device; None if unknown."""
    if device == "cpu":
        return machine.memory_limit()
    return int(torch.cuda.get_device_properties(0).total_memory)


def summarize(planned: preflight.Preflight) -> str:
    """Return the preflight in one line."""
    quantized = sum(group.count for group in planned.modules if group.quantized)
    trainable = sum(group.trainable for group in planned.modules)
    rows = planned.train
    return (
        f"{rows.used} of {rows.rows} rows ({rows.too_long} too long), "
        f"{100 * rows.supervised_share:.0f} % of {rows.tokens} tokens supervised, "
        f"{planned.total_steps} steps; {quantized} layers in NF4, {trainable} trainable "
        f"parameters, {planned.compute_dtype}, about {planned.memory.total / 2**30:.1f} GiB; "
        f"{planned.digest}"
    )
