"""`mens train` on local folders."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from mens_trainer import command

pytestmark = pytest.mark.model

SCHEDULE = {"maxSteps": 1, "maxTokens": 200, "effectiveBatchSize": 4}


def test_mens_train_writes_an_adapter_folder(base: Path, corpus: Path, tmp_path: Path) -> None:
    """It refuses a folder that is not empty, and a schedule that the API refuses."""
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    out = tmp_path / "adapter"
    options = {
        "--base": base, "--corpus": corpus, "--out": out, "--threads": 2,
        "--schedule": json.dumps(SCHEDULE),
    }  # fmt: skip
    words = [str(word) for option in options.items() for word in option]
    arguments = parser.parse_args(["train", *words])
    assert arguments.run(arguments) == 0
    assert (out / "adapter_model.safetensors").is_file()
    assert arguments.run(arguments) == 1
    arguments.out, arguments.schedule = tmp_path / "other", '{"maxSteps": -1}'
    assert arguments.run(arguments) == 2
