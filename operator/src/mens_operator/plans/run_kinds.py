"""What a run brings along: the differences between kinds, obstacles, and what a success tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mens.api import kube, status
from mens_operator.plans import facts

StatusT = TypeVar("StatusT", bound=status.RunStatus)


@dataclass(frozen=True)
class Terms(Generic[StatusT]):
    """What differs between the kinds."""

    kind: str
    types: tuple[str, ...]
    """Types of the kind's conditions."""
    inputs_type: str
    """Type of the condition that says whether the inputs are right."""
    metadata: kube.ObjectMeta
    spec_keys: tuple[str, ...]
    """Hash of the part of the spec that the output depends on, first as it is formed now, then as
    earlier versions formed it: what runs under such a key goes on."""
    shape: str
    """Hash of what changes how a pod runs and not what comes out."""
    status: StatusT
    retry_limit: int
    ttl_seconds: int | None
    deadline_seconds: int | None
    """Longest time of an attempt, as the spec has it now."""
    bucket: str
    output: Callable[[str], str]
    """Folder of the artifact for a key."""
    cleared: Mapping[str, tuple[str, str]]
    """Conditions that are True once a Job exists, with reason and message: it exists because of
    them."""
    shrink: Callable[[StatusT], Mapping[str, Any] | None]
    """Status fields that make the next attempt need less memory; None if nothing can."""
    result: Callable[[facts.Artifact], Mapping[str, Any]]
    """Status fields of a success."""
    progress_proves_inputs: bool
    """Whether the first step that is reported shows that all inputs are right."""
    doubt: Callable[[facts.Artifact], str]
    """What speaks against using a success, in a sentence; empty if nothing does."""
    next_step: str
    """What to do with the artifact."""


@dataclass(frozen=True)
class Obstacle:
    """Something that must be out of the way before a Job is made."""

    type: str
    """Type of the condition that says it."""
    trouble: facts.Trouble
    waiting: bool = False
    """Whether nobody need do anything: it is being made."""


def compliance(found: facts.Artifact) -> status.Compliance:
    """Return what one may do with an artifact, as its manifest says."""
    said = found.manifest.compliance
    return status.Compliance(
        license_expression=said.license_expression[:1024],
        license_class=str(said.license_class),
        attribution_required=str(said.attribution_required),
        obligations=tuple(item.id[:128] for item in said.obligations[:128]),
    )


def lineage(found: facts.Artifact) -> tuple[status.LineageEntry, ...]:
    """Return what an artifact was made from."""
    return tuple(
        status.LineageEntry(
            role=str(item.role),
            name=item.name[:253],
            digest=str(item.digest),
            license_expression=item.license_expression[:1024],
        )
        for item in found.manifest.inputs[:128]
    )
