"""The row: one prompt with its answer, where it comes from and under which license.

Field names are those of upstream's Vox Mens JSONL, so that its tools read our files.
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
"""Value of every row's `schema_version`; a change of meaning gets a new one."""


class Lane(enum.StrEnum):
    """What a row teaches; a run may choose lanes."""

    CODEGEN = "vox_codegen"
    """A task in words becomes code."""
    DOCS_QA = "vox_docs_qa"
    """A question is answered from documentation, a docstring included."""
    TOOLING = "vox_tooling"
    """Tool calls and their traces."""
    SPEECH = "vox_speech"
    """Speech becomes code."""
    TRAJECTORY_REPAIR = "vox_trajectory_repair"
    """Broken code or a failed trace is repaired."""
    RETRIEVAL_GROUNDED = "vox_retrieval_grounded"
    """An answer cites what was retrieved."""
    LANG_TIER_B = "vox_lang_tier_b"
    """Less common parts of the language."""
    RUST_EXPERT_CROSS = "vox_rust_expert_cross"
    """Rust beside Vox."""
    RESEARCH_EXPERT = "vox_research_expert"
    """Research chains over several sources."""


class Origin(enum.StrEnum):
    """Who wrote the answer."""

    HUMAN = "human"
    """People: the answer's content stands in the source."""
    SYNTHETIC = "synthetic"
    """A template or a model."""
    AGENT = "agent"
    """An agent's trace."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, in the order of its fields in the file."""

    prompt: str
    response: str
    lane: Lane
    category: str
    """What kind of row it is, finer than the lane; one word of each extractor."""
    task_family: str
    """Which task a prompt sets; equal prompts' wording means equal task_family."""
    source: str
    """Name of the source in the spec."""
    path: str
    """Path of the document within its source."""
    license: str = ""
    """SPDX expression; empty until the license is concluded."""
    origin: Origin = Origin.HUMAN
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    """Where in the document the row comes from: qualname or heading, and line."""

    @property
    def id(self) -> str:
        """Identity of the row: 32 hex digits over its text and its document, not its line.

        A function that moves within its file keeps its identity, and with it its place in
        samples and splits.
        """
        return digest_of(self.source, self.path, self.prompt, self.response)

    @property
    def duplicate_key(self) -> str:
        """Equal for rows whose texts differ in white space or Unicode composition only."""
        return digest_of(normalized(self.prompt), normalized(self.response))

    def to_object(self) -> dict[str, Any]:
        """Return the JSON object of the row, in the order in which it is written."""
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


def normalized(text: str) -> str:
    """Return the text with Unicode composed and every run of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def digest_of(*parts: str | int) -> str:
    """Return 32 hex digits that identify the parts, each told apart from its neighbor."""
    data = json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()
    return hashlib.sha256(data).hexdigest()[:32]
