"""SmolLM2-135M-Instruct: the conversion, and a few training steps."""

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

FILLER: Final = "Read this, which is here to make the row a long one, and continue. " * 5
"""About 85 tokens. With short rows only, memory would peak while the model loads."""

STEPS: Final = 3
"""Optimizer steps. The rows of one are long and set the peak of memory, the others are short: the
loss falls as far as with long rows, in a fifth of the time."""


@pytest.fixture(scope="module")
def folder() -> Path:
    """The converted model."""
    return models.smollm2()


def test_the_converted_model_answers_a_question(folder: Path) -> None:
    """With the capital of France: weights, tokenizer and chat template match."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])
    assert tokenizer.tokenize("12") == ["1", "2"]
    assert (folder / "LICENSES" / "Apache-2.0.txt").is_file()


def test_a_few_steps_halve_the_loss_within_the_estimated_memory(
    folder: Path, tmp_path: Path
) -> None:
    """3 steps of 4 rows; the peak memory of the process is within 20 % of the estimate."""
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    train = rows.rows(4 * STEPS)
    long = [row | {"prompt": f"{FILLER} {row['prompt']}"} for row in train[:4]]
    rows.write(corpus / data.TRAIN, long + train[4:])
    rows.write(corpus / data.VALIDATION, rows.rows(8))
    schedule = {
        "effectiveBatchSize": 4, "microBatchSize": 4, "maxSteps": STEPS, "learningRate": "1e-3",
        "maxTokens": 160,
    }  # fmt: skip
    options = {
        "--base": folder, "--corpus": corpus, "--out": out, "--threads": 2, "--eval-rows": 8,
        "--schedule": json.dumps(schedule),
    }  # fmt: skip
    arguments = [str(word) for option in options.items() for word in option]
    # In its own process: the peak of this one is that of the other tests.
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "mens_trainer", "train", *arguments]
    subprocess.run(command, env=environ, check=True)
    events = [json.loads(line) for line in (out / "telemetry.jsonl").read_text().splitlines()]
    end = events[-1]
    assert (end["event"], end["step"]) == ("train_complete", STEPS)
    assert end["validation_loss"] < 0.5 * end["validation_loss_before"]
    assert (out / "adapter_model.safetensors").is_file()
    memory = json.loads((out / "training-preflight.json").read_text())["memory"]
    assert memory["total"] == pytest.approx(end["peak_rss_bytes"], rel=0.2)
