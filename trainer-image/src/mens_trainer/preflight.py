"""The preflight: what will be quantized, adapted and trained, as a contract with a digest.

Computed from the configuration alone, before a weight is read. After loading, the module table is
derived again from the model in memory, and any difference ends the run. This catches linear layers
that a library silently skips or treats differently: not quantized, not adapted or missing. Modules
that no adapter reaches by design (fused experts, convolutions) are equal in both tables;
`model.check_coverage` refuses a base that consists of them.
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
from mens.runtime import errors
from mens_trainer import data, memory_estimate, module_table, recipe

FILE_NAME: Final = "training-preflight.json"
"""Name of the file in the adapter's folder."""
SCHEMA: Final = "mens.training-preflight/v1"
"""Schema of the file."""


@dataclass(frozen=True)
class Preflight:
    """The plan of a run, with everything that determines its result."""

    identity: Mapping[str, str]
    """Digests of base, corpus, configuration and tokenizer."""
    compute_dtype: recipe.ComputeDtype
    """Dtype of matrix products."""
    plan: recipe.Recipe
    """The recipe."""
    total_steps: int
    """Optimizer steps."""
    modules: Sequence[module_table.ModuleGroup]
    """The module table."""
    train: data.Statistics
    """Statistics of the training rows."""
    validation: data.Statistics
    """Statistics of the held-out rows."""
    compliance: Mapping[str, str]
    """License expression and class of each input."""
    memory: memory_estimate.MemoryEstimate
    """Estimated peak memory; not part of the contract."""
    available_memory: int | None
    """Available bytes, None if unknown; not part of the contract."""

    def contract(self) -> dict[str, Any]:
        """Return the content that the digest covers."""
        return {
            "schema": SCHEMA,
            "identity": dict(self.identity),
            "computeDtype": self.compute_dtype,
            "recipe": self.plan.to_object(),
            "totalSteps": self.total_steps,
            "modules": [dataclasses.asdict(group) for group in self.modules],
            "data": {
                "train": self.train.to_object(),
                "validation": self.validation.to_object(),
            },
            "compliance": dict(self.compliance),
        }

    @property
    def digest(self) -> str:
        """SHA-256 digest of the contract as canonical JSON."""
        text = json.dumps(self.contract(), sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write digest, contract and memory estimate."""
        content = {
            "digest": self.digest,
            "contract": self.contract(),
            "memory": {**self.memory.to_object(), "available": self.available_memory},
        }
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

    def check_loaded(self, loaded: Sequence[module_table.ModuleGroup]) -> None:
        """Refuse to train if the loaded modules differ from the planned ones."""
        planned, found = _by_name(self.modules), _by_name(loaded)
        differences = [
            f"{name}: planned {_describe(planned.get(name))}, loaded {_describe(found.get(name))}"
            for name in sorted(planned.keys() | found.keys())
            if planned.get(name) != found.get(name)
        ]
        if differences:
            raise errors.InvalidInputError(
                reasons.PREFLIGHT_MISMATCH,
                f"{len(differences)} kinds of modules differ from the preflight: "
                f"{'; '.join(differences[:3])}. Mens does not support this architecture yet",
            )


def _by_name(
    modules: Sequence[module_table.ModuleGroup],
) -> dict[str, list[module_table.ModuleGroup]]:
    """Map names to groups; a name has several groups if only some modules are quantized."""
    groups: dict[str, list[module_table.ModuleGroup]] = {}
    for group in sorted(modules):
        groups.setdefault(f"{group.pattern} ({group.kind})", []).append(group)
    return groups


def _describe(groups: Sequence[module_table.ModuleGroup] | None) -> str:
    return " and ".join(map(_describe_group, groups)) if groups else "nothing"


def _describe_group(group: module_table.ModuleGroup) -> str:
    words = [f"{group.count}×", "NF4" if group.quantized else "unquantized"]
    words += [f"{group.trainable} trainable" if group.adapted else "frozen", f"{group.size} bytes"]
    return " ".join(words)


def file_digest(*paths: Path) -> str:
    """Return a SHA-256 digest of names and contents of the files that exist, in this order."""
    hasher = hashlib.sha256()
    for path in paths:
        if path.is_file():
            hasher.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return "sha256:" + hasher.hexdigest()
