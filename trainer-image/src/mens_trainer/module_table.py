"""The module table: which modules a model has, and which are quantized, adapted and trainable.

Pure; `inspection` derives the table from a model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BLOCK_SIZE: Final = 64
"""Values that share one block constant in NF4."""
NESTED_BLOCK_SIZE: Final = 256
"""Block constants that share one constant under double quantization."""


@dataclass(frozen=True, order=True)
class ModuleGroup:
    """All modules of one kind and shape, such as every layer's `q_proj`.

    The field names are part of the preflight contract: renaming one changes every digest.
    """

    pattern: str
    """Module names, with `*` for the layer numbers."""
    kind: str
    """Class name; a quantized Linear is listed as Linear."""
    count: int
    """Number of modules."""
    parameters: int
    """Base parameters in all of them."""
    quantized: bool
    """Whether they are in NF4 with double quantization."""
    adapted: bool
    """Whether they have an adapter."""
    trainable: int
    """Adapter parameters."""
    size: int
    """Bytes of the base parameters in memory."""


def merge(modules: Iterable[ModuleGroup]) -> list[ModuleGroup]:
    """Merge modules whose names differ only in their layer number, sorted by name."""
    groups: dict[tuple[object, ...], ModuleGroup] = {}
    for module in modules:
        pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", module.pattern)
        key = (pattern, module.kind, module.quantized, module.adapted)
        group = groups.get(key) or ModuleGroup(pattern, module.kind, 0, 0, *key[2:], 0, 0)
        groups[key] = ModuleGroup(
            pattern,
            module.kind,
            group.count + 1,
            group.parameters + module.parameters,
            module.quantized,
            module.adapted,
            group.trainable + module.trainable,
            group.size + module.size,
        )
    return sorted(groups.values())


def quantized_bytes(parameters: int) -> int:
    """Return the bytes of a matrix in NF4 with double quantization: 4.127 bits per parameter."""
    blocks = math.ceil(parameters / BLOCK_SIZE)
    return math.ceil(parameters / 2) + blocks + 4 * math.ceil(blocks / NESTED_BLOCK_SIZE)
