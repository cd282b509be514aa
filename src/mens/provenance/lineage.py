"""Lineage: which artifacts and sources something was made from, as a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mens.artifacts import errors, manifests, refs, store

DEPTH = 16
"""Levels that are followed; a manifest cannot contain its own digest, so trees are finite, but a
hostile store could make them long."""


@dataclass(frozen=True, slots=True)
class Node:
    """One artifact or source and what it was made from."""

    role: str
    """What it was to its child; `Artifact` for the one that was asked about."""
    name: str
    uri: str
    digest: str
    license_expression: str
    kind: str = ""
    """Model, Corpus or Adapter; empty for a source outside of the store."""
    problem: str = ""
    """Why it could not be read; empty if it could, or need not."""
    parents: tuple[Node, ...] = field(default=())

    def walk(self, level: int = 0) -> Iterator[tuple[int, Node]]:
        """This node and all below, with their levels, in the order of the manifests."""
        yield level, self
        for parent in self.parents:
            yield from parent.walk(level + 1)


Read = Callable[[refs.ArtifactRef], manifests.Manifest]
"""Gives the verified manifest of an artifact, or raises `errors.StoreError`."""


def trace(ref: refs.ArtifactRef, read: Read) -> Node:
    """The tree of inputs; an input that cannot be read stays in it, with its problem."""
    return _artifact("Artifact", ref, read(ref), read, DEPTH)


def reader(source: store.ObjectStore) -> Read:
    """A `Read` on a store."""
    return lambda ref: manifests.read(source, ref)[0]


def _artifact(
    role: str, ref: refs.ArtifactRef, manifest: manifests.Manifest, read: Read, depth: int
) -> Node:
    return Node(
        role=role,
        name=manifest.name,
        uri=str(ref.uri),
        digest=str(ref.digest),
        license_expression=manifest.compliance.license_expression,
        kind=manifest.kind,
        parents=tuple(_input(each, read, depth - 1) for each in manifest.inputs),
    )


def _input(given: manifests.Input, read: Read, depth: int) -> Node:
    problem = ""
    if given.role is not manifests.Role.SOURCE:
        try:
            if depth <= 0:
                raise errors.ManifestInvalid(f"more than {DEPTH} levels; not followed further")
            ref = refs.ArtifactRef(uri=refs.Uri.parse(given.uri), digest=given.digest)
            return _artifact(given.role, ref, read(ref), read, depth)
        except errors.StoreError as e:
            problem = f"{e.reason}: {e}"
    return Node(
        role=given.role,
        name=given.name,
        uri=given.uri,
        digest=str(given.digest),
        license_expression=given.license_expression,
        problem=problem,
    )
