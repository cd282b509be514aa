"""The demo's base model: SmolLM2-135M-Instruct from a PyPI wheel, as safetensors in the cache."""

from __future__ import annotations

from pathlib import Path

from hack.demo import gguf_conversion
from hack.support import paths


def folder() -> Path:
    """Return the folder of the converted model; the first call converts it (about 45 s)."""
    return gguf_conversion.smollm2(paths.cache())
