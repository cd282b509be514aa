"""The preflight contract: a stable digest, and a comparison that names every difference."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mens.runtime import errors
from mens_trainer import data, memory_estimate, module_table, preflight, recipe

QUANTIZED = module_table.ModuleGroup("m.*.q", "Linear", 3, 300, True, True, 24, 180)
UNQUANTIZED = module_table.ModuleGroup("m.*.q", "Linear", 1, 100, False, True, 8, 400)


def planned(**changes: Any) -> preflight.Preflight:
    """A preflight with a value in every field."""
    statistics = data.Statistics(
        rows=9, used=8, too_long=1, unsupervised=0, tokens=80, supervised_tokens=40,
        max_length=12, max_supervised_tokens=6, max_token_id=99,
    )  # fmt: skip
    fields: dict[str, Any] = {
        "identity": {"base": "sha256:b", "corpus": "sha256:c"},
        "compute_dtype": "float32",
        "plan": recipe.Recipe(rank=8),
        "total_steps": 2,
        "modules": [QUANTIZED],
        "train": statistics,
        "validation": dataclasses.replace(statistics, rows=8, too_long=0),
        "compliance": {"base": "Apache-2.0 (Permissive)"},
        "memory": memory_estimate.MemoryEstimate(*range(8)),
        "available_memory": 2**30,
    }
    return preflight.Preflight(**(fields | changes))


def test_the_digest_of_equal_inputs_never_changes() -> None:
    """Adapters store it in their manifest: renaming a field in code must not change it."""
    expected = "sha256:1bcb8ab36554f90ab32551920003bb08c3ef63f580bb94b5021818faa2d39e82"
    assert planned().digest == expected


@pytest.mark.parametrize(
    "change",
    [
        {"identity": {"base": "sha256:x"}},
        {"compute_dtype": "bfloat16"},
        {"plan": recipe.Recipe(rank=4)},
        {"total_steps": 3},
        {"modules": [UNQUANTIZED]},
        {"compliance": {}},
    ],
)
def test_the_digest_covers_the_plan(change: dict[str, Any]) -> None:
    """Every field that affects the result changes the digest."""
    assert planned(**change).digest != planned().digest


def test_the_digest_does_not_cover_memory() -> None:
    """The memory of the machine does not affect the result."""
    assert planned(available_memory=None).digest == planned().digest


def test_the_file_contains_digest_contract_and_memory(tmp_path: Path) -> None:
    """Memory has one entry for each part of the estimate, the total and the available bytes."""
    planned().write(tmp_path / preflight.FILE_NAME)
    content = json.loads((tmp_path / preflight.FILE_NAME).read_text())
    assert content["digest"] == planned().digest
    assert content["contract"] == planned().contract()
    assert content["memory"] == {
        "weights": 0, "adapter": 1, "optimizer": 2, "activations": 3, "logits": 4, "rows": 5,
        "lost": 6, "runtime": 7, "total": 28, "available": 2**30,
    }  # fmt: skip


def test_a_missing_module_is_named() -> None:
    """With the planned and the loaded modules side by side."""
    planned().check_loaded([QUANTIZED])
    with pytest.raises(errors.InvalidInputError, match=r"planned 3× NF4.*loaded nothing"):
        planned().check_loaded([])


def test_a_difference_in_one_of_two_groups_is_named() -> None:
    """Some modules of a name may be quantized and others not; each group is compared."""
    both = planned(modules=[UNQUANTIZED, QUANTIZED])
    frozen = dataclasses.replace(UNQUANTIZED, adapted=False, trainable=0)
    both.check_loaded([QUANTIZED, UNQUANTIZED])
    with pytest.raises(
        errors.InvalidInputError, match=r"unquantized 8 trainable.*and 3× NF4.*loaded 3× NF4"
    ):
        both.check_loaded([QUANTIZED])
    with pytest.raises(errors.InvalidInputError, match="loaded 1× unquantized frozen"):
        both.check_loaded([frozen, QUANTIZED])
