"""SmolLM2-135M-Instruct, converted and trained for a few steps: minutes, so marked `model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mens_trainer import recipe, training
from tests.support import models
from tests.unit.trainer import rows

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder() -> Path:
    """The converted model."""
    return models.smollm2()


def test_the_converted_model_speaks(folder: Path) -> None:
    """It knows a capital: weights, tokenizer and chat template belong together."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    given = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    out = model.generate(**given, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0, given["input_ids"].shape[1] :])
    assert tokenizer.tokenize("12") == ["1", "2"]
    assert (folder / "LICENSES" / "Apache-2.0.txt").is_file()


def test_a_few_steps_lower_the_held_out_loss(folder: Path, tmp_path: Path) -> None:
    """210 layers in NF4 with double quantization; 5 steps of 4 rows at least halve the loss."""
    corpus = rows.corpus(tmp_path / "corpus")
    plan = recipe.Recipe(
        batch=4, micro_batch=4, max_steps=5, learning_rate=1e-3, max_tokens=96, evaluation_rows=8
    )
    outcome = training.run(
        training.Inputs("r", folder, corpus, threads=2), plan, tmp_path / "out", lambda _: None
    )
    assert outcome.after < 0.5 * outcome.before
    assert outcome.counters.step == 5
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
