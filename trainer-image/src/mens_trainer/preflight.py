"""The plan as a contract: what will be quantized, adapted and trained, and whether it fits.

Computed from the configuration alone, before a weight is read. After loading, the same table is
derived from what lies in memory; any difference ends the run. It catches linear layers that a
library skipped or treated otherwise, silently: not quantized, not adapted, or not there. What no
adapter reaches by design (experts that are one tensor, convolutions) is the same in both tables;
`model.check_coverage` refuses a base that consists of it.
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

_RUNTIME_BYTES: Final = 1300 * 2**20
"""Resident bytes of Python with torch, transformers and bitsandbytes once a model is loaded,
without the model [measured: 1130 to 1360 MiB on CPU, 815 of them after the imports]."""

_LOST_SHARE: Final = 0.5
"""What the C library's allocator keeps of freed activations and cannot use for the next, longer
batch, as a share of them [measured on CPU: 0.3 to 0.6]; none on accelerators."""

_ROW_BYTES: Final = 250
"""Bytes of the Python objects around a row's tokens."""


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
    rows: int
    """The tokenized rows."""
    lost: int
    """What the allocator keeps of freed activations and logits."""
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
    *,
    device: str,
) -> Estimate:
    """Memory at the peak, from the table and the worst micro-batch.

    Its rows are as long as the longest, and have as many supervised tokens as any. Within 20 % of
    the measured peak for a small model on CPU; not measured on an accelerator yet.
    """
    width = 2 if dtype == "bfloat16" else 4
    text = config.get_text_config()
    tokens, targets = plan.micro_batch * facts.longest, plan.micro_batch * facts.most_targets
    trainable = sum(part.trainable for part in parts)
    activations = tokens * text.num_hidden_layers * _kept(text, width)
    # Softmax, its gradient and the gradient of the logits, each in float32.
    logits = 12 * targets * text.vocab_size
    return Estimate(
        weights=sum(part.size for part in parts),
        adapter=4 * trainable,
        optimizer=12 * trainable,
        activations=activations,
        logits=logits,
        rows=5 * facts.tokens + _ROW_BYTES * facts.used,
        lost=int(_LOST_SHARE * (activations + logits)) if device == "cpu" else 0,
        runtime=_RUNTIME_BYTES,
    )


def _kept(text: Any, width: int) -> int:
    """Bytes that a layer keeps of a token for the backward pass [counted on Llama and Qwen 3].

    Two norms in float32; queries, attention's output, keys and values; three vectors of the MLP;
    and the inputs of the adapters, which are float32: in bfloat16 each of seven has a copy of its
    own, in float32 four do.
    """
    hidden: int = text.hidden_size
    inner: int = getattr(text, "intermediate_size", None) or 4 * hidden
    heads: int = getattr(text, "num_attention_heads", None) or 1
    keys = hidden * (getattr(text, "num_key_value_heads", None) or heads) // heads
    inputs = 6 * hidden + inner if width == 2 else 2 * hidden + inner
    return 4 * (2 * hidden + inputs) + width * (2 * hidden + 2 * keys + 3 * inner)


def check_fit(guess: Estimate, available: int | None, plan: recipe.Recipe, device: str) -> None:
    """Refuse a plan that cannot fit, with the numbers and the smallest change that would fit."""
    if available is None or guess.total <= available:
        return
    per_row = (guess.activations + guess.logits + guess.lost) / plan.micro_batch
    fixed = guess.total - per_row * plan.micro_batch
    rows = int((available - fixed) // per_row) if available > fixed else 0
    if rows >= 1:
        change = f"set schedule.microBatchSize to {rows}"
    elif device == "cpu":
        change = f"set resources.memory to {_gib(guess.total)} or lower schedule.maxTokens"
    else:  # resources.memory is the host's
        change = (
            f"name a resources.gpu.product with {_gib(guess.total)} or lower schedule.maxTokens"
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
    """License expression and class of each input."""
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
        planned, found = _by_name(self.parts), _by_name(loaded)
        differences = [
            f"{name}: planned {_brief(planned.get(name))}, loaded {_brief(found.get(name))}"
            for name in sorted(planned.keys() | found.keys())
            if planned.get(name) != found.get(name)
        ]
        if differences:
            raise errors.InputWrong(
                reasons.PREFLIGHT_MISMATCH,
                f"{len(differences)} kinds of modules differ from the preflight: "
                f"{'; '.join(differences[:3])}. This architecture needs a change of Mens",
            )


def _by_name(parts: Sequence[model.Part]) -> dict[str, list[model.Part]]:
    """Parts by what a person calls them; one name may have several, of which some are quantized."""
    found: dict[str, list[model.Part]] = {}
    for part in sorted(parts):
        found.setdefault(f"{part.pattern} ({part.kind})", []).append(part)
    return found


def _brief(parts: Sequence[model.Part] | None) -> str:
    return " and ".join(map(_words, parts)) if parts else "nothing"


def _words(part: model.Part) -> str:
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
