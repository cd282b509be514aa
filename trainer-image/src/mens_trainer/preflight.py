"""The plan as a contract: what will be quantized, adapted and trained, and whether it fits.

Computed from the configuration alone, before a weight is read. After loading, the same table is
derived from what lies in memory; any difference ends the run. It catches layers that a library
skipped silently: experts that stay unquantized, linear attention without an adapter, vision towers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mens.api import reasons
from mens_trainer import data, errors, model, recipe

FILE_NAME: Final = "training-preflight.json"
"""Name of the file in the adapter's folder."""
SCHEMA: Final = "mens.training-preflight/v1"
"""Its schema."""

_RUNTIME_BYTES: Final = 900 * 2**20
"""Resident bytes of Python with torch, transformers and bitsandbytes before a model [measured:
750–900 MiB on CPU]."""


@dataclass(frozen=True)
class Estimate:
    """Bytes at the peak of training, by what they are for."""

    weights: int
    """The frozen base as it is held."""
    adapter: int
    """The adapter's weights."""
    optimizer: int
    """Gradients and both moments of AdamW."""
    activations: int
    """What the backward pass needs of the forward pass, for one micro-batch."""
    logits: int
    """Logits, their gradient and the softmax, at the supervised positions only."""
    runtime: int
    """The process itself."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(dataclasses.astuple(self))


def estimate(
    parts: Sequence[model.Part],
    config: Any,
    plan: recipe.Recipe,
    facts: data.Facts,
    dtype: recipe.ComputeDtype,
) -> Estimate:
    """Memory at the peak, from the table and the longest micro-batch.

    Activations per layer and token: 14 vectors of the model's width (norms, projections and their
    adapters' inputs, residuals) and 5 of the MLP's.
    """
    width = 2 if dtype == "bfloat16" else 4
    text = getattr(config, "text_config", config)
    hidden, layers = text.hidden_size, text.num_hidden_layers
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    tokens = plan.micro_batch * facts.longest
    targets = min(tokens, plan.micro_batch * facts.longest * facts.supervised_share)
    trainable = sum(part.trainable for part in parts)
    return Estimate(
        weights=sum(part.size for part in parts),
        adapter=4 * trainable,
        optimizer=12 * trainable,
        activations=int(tokens * layers * (14 * hidden + 5 * inner) * width),
        logits=int(targets * text.vocab_size * (width + 8)),
        runtime=_RUNTIME_BYTES,
    )


def check_fit(guess: Estimate, available: int | None, plan: recipe.Recipe) -> None:
    """Refuse a plan that cannot fit, with the numbers and the smallest change that would fit."""
    if available is None or guess.total <= available:
        return
    fixed = guess.total - guess.activations - guess.logits
    per_row = (guess.activations + guess.logits) / plan.micro_batch
    rows = int((available - fixed) // per_row) if available > fixed else 0
    change = (
        f"set schedule.microBatchSize to {rows}"
        if rows >= 1
        else f"set resources.memory to {_gib(guess.total)} or lower schedule.maxTokens"
    )
    raise errors.InputWrong(
        reasons.DOES_NOT_FIT,
        f"the plan needs about {_gib(guess.total)} and {_gib(available)} are there (weights "
        f"{_gib(guess.weights)}, activations {_gib(guess.activations)}, logits "
        f"{_gib(guess.logits)}): {change}",
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}Gi"


@dataclass(frozen=True)
class Preflight:
    """What a run will do, with everything its result depends on."""

    identity: Mapping[str, str]
    """Digests of base, corpus, configuration and tokenizer."""
    compute_dtype: recipe.ComputeDtype
    """What matrices are multiplied in."""
    plan: recipe.Recipe
    """The recipe."""
    total_steps: int
    """Optimizer steps."""
    parts: Sequence[model.Part]
    """The module table."""
    train: data.Facts
    """Account of the rows to train on."""
    validation: data.Facts
    """Account of the held-out rows."""
    compliance: Mapping[str, str]
    """Licence expression and class of each input."""
    guess: Estimate
    """Memory at the peak; not part of the contract."""
    available: int | None
    """Bytes there are; not part of the contract."""

    def contract(self) -> dict[str, Any]:
        """What the digest covers."""
        return {
            "schema": SCHEMA,
            "identity": dict(self.identity),
            "computeDtype": self.compute_dtype,
            "recipe": self.plan.to_object(),
            "totalSteps": self.total_steps,
            "modules": [dataclasses.asdict(part) for part in self.parts],
            "data": {
                "train": dataclasses.asdict(self.train),
                "validation": dataclasses.asdict(self.validation),
            },
            "compliance": dict(self.compliance),
        }

    @property
    def digest(self) -> str:
        """SHA-256 over the contract."""
        text = json.dumps(self.contract(), sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write contract, digest and the memory estimate."""
        content = {
            "digest": self.digest,
            "contract": self.contract(),
            "memory": {
                **dataclasses.asdict(self.guess),
                "total": self.guess.total,
                "available": self.available,
            },
        }
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

    def compare(self, loaded: Sequence[model.Part]) -> None:
        """End the run if what lies in memory is not what was planned."""
        planned = {_key(part): part for part in self.parts}
        found = {_key(part): part for part in loaded}
        differences = [
            f"{key}: planned {_brief(planned.get(key))}, loaded {_brief(found.get(key))}"
            for key in sorted(planned.keys() | found.keys())
            if planned.get(key) != found.get(key)
        ]
        if differences:
            raise errors.InputWrong(
                reasons.PREFLIGHT_MISMATCH,
                f"{len(differences)} kinds of modules differ from the preflight: "
                f"{'; '.join(differences[:3])}. This architecture needs a change of Mens",
            )


def _key(part: model.Part) -> str:
    return f"{part.pattern} ({part.kind})"


def _brief(part: model.Part | None) -> str:
    if part is None:
        return "nothing"
    words = [f"{part.count}×", "NF4" if part.quantized else "plain"]
    words += [f"{part.trainable} trainable" if part.adapted else "frozen", f"{part.size} bytes"]
    return " ".join(words)


def file_digest(*paths: Path) -> str:
    """SHA-256 over files that exist, in the given order; names count too."""
    hasher = hashlib.sha256()
    for path in paths:
        if path.is_file():
            hasher.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return "sha256:" + hasher.hexdigest()
