"""The frame of a custom resource: its names, its columns, its metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from mens.api.kube.models import Model
from mens.api.kube.types import Count, Timestamp

GROUP = "mens.vox-lang.org"
"""API group of every resource of the platform."""

VERSION = "v1alpha1"
"""The one served and stored version."""

API_VERSION = f"{GROUP}/{VERSION}"
"""What a user writes behind `apiVersion:`."""


@dataclass(frozen=True)
class Names:
    """How a resource is called in URLs, in YAML and by people in a hurry."""

    kind: str
    plural: str
    singular: str
    short: str


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    path: str
    """JSON path from the object, as `.status.progress.step`."""
    description: str
    type: str = "string"
    """string, integer, number, boolean or date."""
    priority: int = 0


def condition_column(name: str, condition: str, key: str = "status", priority: int = 0) -> Column:
    """Return the column that shows one key of one condition."""
    path = f'.status.conditions[?(@.type=="{condition}")].{key}'
    return Column(name, path, f"The {key} of condition {condition}.", priority=priority)


AGE = Column("Age", ".metadata.creationTimestamp", "Time since creation.", type="date")
"""The column every resource ends with."""


@dataclass(frozen=True)
class Scale:
    """Where the scale subresource finds its numbers."""

    spec_path: str
    status_path: str
    selector_path: str


class ObjectMeta(Model):
    """The part of metadata that the platform reads."""

    name: Annotated[str, Field(max_length=253)]
    """The name within its namespace and kind."""
    namespace: Annotated[str, Field(max_length=63)] = "default"
    """The namespace."""
    uid: Annotated[str, Field(max_length=64)] = ""
    """Identity of this very object; a namesake made later has another."""
    generation: Count = 0
    """Counts changes of the spec."""
    resource_version: Annotated[str, Field(max_length=64)] = ""
    """Opaque version of the stored object."""
    creation_timestamp: Timestamp | None = None
    """When the object was created."""
    deletion_timestamp: Timestamp | None = None
    """When deletion was asked for; None for a living object."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations."""


class Resource(Model):
    """Base of the resources; a subclass adds `spec` and `status`."""

    NAMES: ClassVar[Names]
    COLUMNS: ClassVar[tuple[Column, ...]] = (AGE,)
    SCALE: ClassVar[Scale | None] = None

    api_version: Annotated[str, Field(max_length=64)] = API_VERSION
    """`mens.vox-lang.org/v1alpha1`."""
    kind: Annotated[str, Field(max_length=64)]
    """The kind."""
    metadata: ObjectMeta
    """Name, namespace and identity."""
