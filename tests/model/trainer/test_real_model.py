"""SmolLM2-135M-Instruct, converted and trained for a few steps: minutes, so marked `model`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import transformers

from mens_trainer import data
from tests.support import models
from tests.unit.trainer import rows

pytestmark = pytest.mark.model

FILLER: Final = "Read this, which is here to make the row a long one, and go on. " * 5
"""About 85 tokens: with shorter rows the peak is that of loading."""


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


def test_a_few_steps_lower_the_held_out_loss_in_the_memory_that_was_estimated(
    folder: Path, tmp_path: Path
) -> None:
    """5 steps of 4 rows halve the loss; the process's peak is within 20 % of the preflight's."""
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    for name, count in ((data.TRAIN, 80), (data.VALIDATION, 8)):
        corpus.mkdir(exist_ok=True)
        long = [row | {"prompt": f"{FILLER} {row['prompt']}"} for row in rows.rows(count)]
        rows.write(corpus / name, long)
    schedule = {
        "effectiveBatchSize": 4, "microBatchSize": 4, "maxSteps": 5, "learningRate": "1e-3",
        "maxTokens": 160,
    }  # fmt: skip
    command = [
        "train", "--base", folder, "--corpus", corpus, "-o", out, "--threads", "2",
        "--eval-rows", "8", "--schedule", json.dumps(schedule),
    ]  # fmt: skip
    # A process of its own: the peak of this one is that of the other tests.
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-m", "mens_trainer", *command], env=environ, check=True)
    events = [json.loads(line) for line in (out / "telemetry.jsonl").read_text().splitlines()]
    end = events[-1]
    assert (end["event"], end["step"]) == ("train_complete", 5)
    assert end["validation_loss"] < 0.5 * end["validation_loss_before"]
    assert (out / "adapter_model.safetensors").is_file()
    guess = json.loads((out / "training-preflight.json").read_text())["memory"]
    assert guess["total"] == pytest.approx(end["peak_rss_bytes"], rel=0.2)
