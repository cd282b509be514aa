"""The demo's base model: SmolLM2-135M-Instruct out of a PyPI wheel, as safetensors in the cache."""

from __future__ import annotations

from pathlib import Path

from hack.support import paths
from mens_trainer import convert


def folder() -> Path:
    """Folder of the converted model; converted on the first call, some 45 s."""
    return convert.smollm2(paths.cache())
