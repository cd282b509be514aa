"""MensCorpus as a kind of run: one Job that builds the corpus."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pydantic

from mens.api import condition_types, corpus, reasons
from mens.artifacts import layout, refs
from mens.runtime import jobs
from mens_operator.manifests import batch, platform
from mens_operator.plans import facts, run_kinds


@dataclass(frozen=True)
class CorpusKind:
    """A `run_kinds.RunKind` for one MensCorpus."""

    resource: corpus.MensCorpus
    installation: platform.Platform
    status_conditions: Sequence[str] = condition_types.CORPUS
    inputs_condition: str = condition_types.SOURCES_READY
    recorded_digests: Sequence[str] = ()
    first_step_proves_inputs: bool = False

    @functools.cached_property
    def spec_hashes(self) -> tuple[str, str]:
        """Hashes of the spec fields that the output depends on."""
        return run_kinds.spec_hashes(self.resource)

    @functools.cached_property
    def pod_settings_hash(self) -> str:
        """Hash of the spec fields that only change how the pod runs."""
        return run_kinds.pod_settings_hash(self.resource)

    @property
    def preconditions(self) -> Mapping[str, tuple[str, str]]:
        """Conditions that are True once a Job exists."""
        sources = (reasons.SOURCES_READY, "All sources are readable.")
        storage = (reasons.STORAGE_READY, f"{self.bucket} is readable and writable.")
        return {
            condition_types.SOURCES_READY: sources,
            condition_types.STORAGE_READY: storage,
        }

    @property
    def bucket(self) -> str:
        """Bucket that the run publishes to."""
        return self.installation.bucket

    @property
    def next_step(self) -> str:
        """What the user can do with the artifact."""
        return f"Train on it: spec.corpusRef.name: {self.resource.metadata.name}."

    def inputs(
        self, references: Mapping[tuple[str, str], Mapping[str, Any]], known: facts.Facts
    ) -> run_kinds.Inputs:
        """Return no inputs: the Job itself reads the sources."""
        return run_kinds.Inputs()

    def job(self, attempt: batch.Attempt, inputs: run_kinds.Inputs) -> Mapping[str, Any]:
        """Return the Job of an attempt."""
        meta, spec = self.resource.metadata, self.resource.spec
        return batch.job(
            installation=self.installation,
            kind=self.resource.kind,
            metadata=meta,
            image=self.installation.images.corpus,
            module="mens_corpus",
            work=jobs.CorpusJob(
                resource=jobs.Resource(
                    namespace=meta.namespace,
                    name=meta.name,
                    uid=meta.uid,
                    generation=meta.generation,
                ),
                spec=spec,
                attempt=attempt.number,
                output=self.output(attempt.key),
            ),
            resources=spec.resources,
            attempt=attempt,
            deadline_seconds=spec.active_deadline_seconds,
        )

    def output(self, key: str) -> str:
        """Return the output folder for a key."""
        bucket = refs.Uri.parse(self.bucket)
        return str(layout.corpus(bucket, self.resource.metadata.uid, key))

    def result(self, artifact: facts.Artifact) -> Mapping[str, Any]:
        """Return row counts and fingerprint; values of an unknown form are left out."""
        details = artifact.manifest.details
        fingerprint = details.get("fingerprint")
        return {
            "rows": _row_counts(details.get("rows"), details.get("accounting")),
            "fingerprint": fingerprint[:128] if isinstance(fingerprint, str) else None,
        }

    def doubts(self, artifact: facts.Artifact) -> str:
        """Return no doubts: a corpus is validated before it is published."""
        return ""

    def less_memory(self, changes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return None: a corpus has no setting that uses less memory."""
        return None


_ACCOUNTING: Final = {
    "duplicate": ("deduplicated",),
    "filtered": ("filtered", "sampledOut"),
    "quarantined": ("quarantined",),
}
"""Field of `status.rows` -> its names in the manifest's accounting, by source and by reason."""


def _row_counts(rows: Any, accounting: Any) -> corpus.RowCounts | None:
    try:
        removed = {
            field: sum(
                sum(source[name].values()) for source in accounting.values() for name in names_
            )
            for field, names_ in _ACCOUNTING.items()
        }
    except (AttributeError, KeyError, TypeError):
        removed = {}
    try:
        return corpus.RowCounts.model_validate({**rows, **removed}) if rows else None
    except (TypeError, pydantic.ValidationError):
        return None
