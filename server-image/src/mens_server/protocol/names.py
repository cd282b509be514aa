"""Names of models in requests: looked up in a map, never joined to a path."""

from __future__ import annotations

import re
from typing import Final

from mens_server.protocol import errors

PATTERN: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
"""What a name looks like; also what a MensServe allows."""


def parse(name: str) -> str:
    """Return the name without Ollama's `:latest`, or refuse it."""
    plain = name.removesuffix(":latest")
    if not PATTERN.fullmatch(plain):
        raise errors.ModelNotFound(
            "The model does not exist: see /v1/models for the available models.", param="model"
        )
    return plain
