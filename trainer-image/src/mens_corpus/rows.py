"""The row: a prompt with its response, provenance and license.

Field names are those of the upstream Vox Mens JSONL, whose tools can read these files.
"""

from __future__ import annotations

import enum
import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION: Final = "mens.row/v1"
"""Value of the `schema_version` of every row; it changes when the meaning of a field changes."""


class Lane(enum.StrEnum):
    """The skill that a row teaches; a training run can select lanes."""

    CODEGEN = "vox_codegen"
    """From a task in natural language to code."""
    DOCS_QA = "vox_docs_qa"
    """Questions answered from documentation, including docstrings."""
    TOOLING = "vox_tooling"
    """Tool calls and their traces."""
    SPEECH = "vox_speech"
    """From speech to code."""
    TRAJECTORY_REPAIR = "vox_trajectory_repair"
    """Repair of broken code or of a failed trace."""
    RETRIEVAL_GROUNDED = "vox_retrieval_grounded"
    """Answers that cite retrieved text."""
    LANG_TIER_B = "vox_lang_tier_b"
    """Less common parts of the language."""
    RUST_EXPERT_CROSS = "vox_rust_expert_cross"
    """Rust together with Vox."""
    RESEARCH_EXPERT = "vox_research_expert"
    """Research chains over several sources."""


class Origin(enum.StrEnum):
    """Who wrote the response."""

    HUMAN = "human"
    """A person: the content of the response is in the source."""
    SYNTHETIC = "synthetic"
    """A template or a model."""
    AGENT = "agent"
    """An agent's trace."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the dataset."""

    prompt: str
    response: str
    lane: Lane
    category: str
    """The kind of row, finer than the lane; each extractor has one."""
    task_family: str
    """The task of the prompt; rows with the same wording of the prompt share it."""
    source: str
    """Name of the source in the spec."""
    path: str
    """Path of the document within its source."""
    license: str = ""
    """SPDX expression; empty before license detection."""
    origin: Origin = Origin.HUMAN
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    """Location in the document: qualname or heading, and line."""

    @property
    def id(self) -> str:
        """Identity of the row: 32 hex digits, a hash of its text and document but not of its line.

        A function that moves within its file keeps its id, and with it its place in samples and
        splits.
        """
        return hash_of(self.source, self.path, self.prompt, self.response)

    @property
    def duplicate_key(self) -> str:
        """Key of exact deduplication: ignores white space and Unicode composition."""
        return hash_of(normalize(self.prompt), normalize(self.response))

    def to_object(self) -> dict[str, Any]:
        """Return the row as a JSON object, with its fields in the order of the file."""
        metadata: dict[str, str | int] = {"path": self.path, **self.metadata}
        return {
            "id": self.id,
            "prompt": self.prompt,
            "response": self.response,
            "lane": self.lane.value,
            "category": self.category,
            "task_family": self.task_family,
            "origin": self.origin.value,
            "source": self.source,
            "schema_version": SCHEMA_VERSION,
            "license": self.license,
            "metadata": metadata,
        }


def normalize(text: str) -> str:
    """Return the text in Unicode NFC, with each run of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def hash_of(*parts: str | int) -> str:
    """Return 32 hex digits that identify the parts; ("ab", "c") and ("a", "bc") differ."""
    data = json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()
    return hashlib.sha256(data).hexdigest()[:32]
