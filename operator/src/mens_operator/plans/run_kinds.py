"""The protocol of the kinds of runs (MensCorpus, MensTrainRun), and what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from mens.api import corpus, status, trainrun
from mens.artifacts import refs
from mens_operator.manifests import batch, names
from mens_operator.plans import facts

Run: TypeAlias = corpus.MensCorpus | trainrun.MensTrainRun
"""A resource whose Jobs run until an artifact is published."""


@dataclass(frozen=True)
class Inputs:
    """The verified artifacts that a run is made from, in the order in which they are hashed."""

    artifacts: tuple[refs.ArtifactRef, ...] = ()


@dataclass(frozen=True)
class UnmetPrecondition:
    """A precondition that is not met, so no Job is created."""

    condition_type: str
    """Type of the condition that reports it, unless its reason belongs to another one."""
    problem: facts.Problem
    in_progress: bool = False
    """Whether it resolves without the user, such as a corpus that is being built."""


class RunKind(Protocol):
    """What `runs.plan` needs to know about a kind of run; one instance plans one resource."""

    @property
    def resource(self) -> Run:
        """The resource."""

    @property
    def spec_hashes(self) -> Sequence[str]:
        """Hashes of the spec fields that the output depends on.

        The current hash is first, then hashes as earlier versions computed them; a Job with any of
        them is kept.
        """

    @property
    def pod_settings_hash(self) -> str:
        """Hash of the spec fields that change how the pod runs, but not its output."""

    @property
    def status_conditions(self) -> Sequence[str]:
        """Types of the kind's conditions."""

    @property
    def inputs_condition(self) -> str:
        """Type of the condition that reports whether the inputs are valid."""

    @property
    def preconditions(self) -> Mapping[str, tuple[str, str]]:
        """Condition types that are True once a Job exists, with reason and message."""

    @property
    def bucket(self) -> str:
        """Bucket that the run publishes to."""

    @property
    def recorded_digests(self) -> Sequence[str]:
        """Digests of the inputs of the artifact in the status, ordered as in `Inputs`."""

    @property
    def first_step_proves_inputs(self) -> bool:
        """Whether the first step in the progress file proves that all inputs are valid."""

    @property
    def next_step(self) -> str:
        """What the user can do with the artifact, as a sentence."""

    def inputs(
        self, references: Mapping[tuple[str, str], Mapping[str, Any]], known: facts.Facts
    ) -> Inputs | tuple[UnmetPrecondition, ...] | None:
        """Return the inputs or the preconditions that are not met; None: answer queries first."""

    def job(self, attempt: batch.Attempt, inputs: Inputs) -> Mapping[str, Any]:
        """Return the Job of an attempt."""

    def output(self, key: str) -> str:
        """Return the output folder for a key."""

    def result(self, artifact: facts.Artifact) -> Mapping[str, Any]:
        """Return the status fields of this kind that a success sets."""

    def doubts(self, artifact: facts.Artifact) -> str:
        """Return why the artifact may not be worth using, as a sentence; empty if it is."""

    def less_memory(self, changes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return status fields with which the next attempt needs less memory; None if it cannot.

        `changes` are the status fields that the current plan has changed already.
        """


NO_EFFECT_FIELDS: Final = {
    "suspend",
    "retry",
    "ttl_seconds_after_finished",
    "active_deadline_seconds",
}
"""Fields of the spec that neither change the output nor need a new pod."""
POD_SETTINGS_FIELDS: Final = {"resources", "queue_name"}
"""Fields of the spec that change how the pod runs, but not its output."""


def spec_hashes(resource: Run) -> tuple[str, str]:
    """Return the hash of what the output depends on, also as when it covered the pod settings.

    Defaults are left out: a field that a later version adds must not change the hash, or an upgrade
    would discard running Jobs and build finished artifacts again.
    """
    return (
        _spec_hash(resource, NO_EFFECT_FIELDS | POD_SETTINGS_FIELDS),
        _spec_hash(resource, NO_EFFECT_FIELDS),
    )


def _spec_hash(resource: Run, exclude: set[str]) -> str:
    spec = resource.spec.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
    return names.key(resource.metadata.uid, spec)


def pod_settings_hash(resource: Run) -> str:
    """Return the hash of the spec fields that change how the pod runs, but not its output."""
    settings = resource.spec.model_dump(
        mode="json", include=POD_SETTINGS_FIELDS, exclude_defaults=True
    )
    return names.key(settings)


def output_key(spec_hash: str, digests: Sequence[str]) -> str:
    """Return the key of the output of a spec and inputs; a run without inputs has its spec's."""
    return names.key(spec_hash, *digests) if digests else spec_hash


def compliance(artifact: facts.Artifact) -> status.Compliance:
    """Return the compliance part of the status from an artifact's manifest."""
    declared = artifact.manifest.compliance
    return status.Compliance(
        license_expression=declared.license_expression[:1024],
        license_class=str(declared.license_class),
        attribution_required=str(declared.attribution_required),
        obligations=tuple(item.id[:128] for item in declared.obligations[:128]),
    )


def lineage(artifact: facts.Artifact) -> tuple[status.LineageEntry, ...]:
    """Return the lineage part of the status from an artifact's manifest."""
    return tuple(
        status.LineageEntry(
            role=str(item.role),
            name=item.name[:253],
            digest=str(item.digest),
            license_expression=item.license_expression[:1024],
        )
        for item in artifact.manifest.inputs[:128]
    )
