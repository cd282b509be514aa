"""MensTrainRun as a kind of run: waits for its corpus, checks the base model, then trains."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from mens.api import condition_types, corpus, reasons, trainrun
from mens.artifacts import digests, errors, layout, manifests, refs
from mens.runtime import jobs
from mens_operator.manifests import batch, names, platform, pods
from mens_operator.plans import children, facts, run_kinds


@dataclass(frozen=True)
class TrainRunKind:
    """A `run_kinds.RunKind` for one MensTrainRun."""

    resource: trainrun.MensTrainRun
    installation: platform.Platform
    status_conditions: Sequence[str] = condition_types.TRAIN_RUN
    inputs_condition: str = condition_types.VALIDATED
    first_step_proves_inputs: bool = True

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
        validated = (reasons.PREFLIGHT_PASSED, "The preflight passed.")
        text = "The licenses of the base model and the corpus are known."
        storage = (reasons.STORAGE_READY, f"{self.bucket} is readable and writable.")
        return {
            condition_types.VALIDATED: validated,
            condition_types.LICENSE_CLEARED: (reasons.LICENSE_CLEARED, text),
            condition_types.STORAGE_READY: storage,
        }

    @property
    def bucket(self) -> str:
        """Bucket that the run publishes to."""
        return self.installation.bucket

    @property
    def recorded_digests(self) -> Sequence[str]:
        """Digests of base model and corpus in the lineage."""
        by_role = {entry.role: entry.digest for entry in self.resource.status.lineage}
        return by_role.get("Base", ""), by_role.get("Corpus", "")

    @property
    def next_step(self) -> str:
        """What the user can do with the artifact."""
        return f"Serve it: spec.adapters[].trainRunRef.name: {self.resource.metadata.name}."

    def inputs(
        self, references: Mapping[tuple[str, str], Mapping[str, Any]], known: facts.Facts
    ) -> run_kinds.Inputs | tuple[run_kinds.UnmetPrecondition, ...] | None:
        """Find base model and corpus and judge their licenses, before a Job asks for a GPU."""
        uri = self.resource.spec.base_model.uri
        data, base = self._corpus(references), known.base_model(uri)
        if base is None:
            return None
        unmet: list[run_kinds.UnmetPrecondition] = []
        if isinstance(base, facts.Problem):
            unmet.append(run_kinds.UnmetPrecondition(condition_types.VALIDATED, base))
        elif base.license is not None:
            unmet.append(run_kinds.UnmetPrecondition(condition_types.LICENSE_CLEARED, base.license))
        if isinstance(data, run_kinds.UnmetPrecondition):
            unmet.append(data)
        if unmet or isinstance(base, facts.Problem) or not isinstance(data, corpus.MensCorpus):
            return tuple(unmet)
        dataset = _artifact_of(data)
        if isinstance(dataset, run_kinds.UnmetPrecondition):
            return (dataset,)
        model = refs.ArtifactRef(uri=refs.Uri.parse(uri), digest=base.digest)
        return run_kinds.Inputs((model, dataset))

    def _corpus(
        self, references: Mapping[tuple[str, str], Mapping[str, Any]]
    ) -> corpus.MensCorpus | run_kinds.UnmetPrecondition:
        """Return the MensCorpus that the spec refers to, once it has succeeded."""
        name, namespace = self.resource.spec.corpus_ref.name, self.resource.metadata.namespace
        raw = references.get(("MensCorpus", name))
        if raw is None:
            text = f"MensCorpus {name} does not exist in namespace {namespace}. Create it, or"
            return _invalid(reasons.CORPUS_NOT_FOUND, f"{text} correct spec.corpusRef.name.")
        try:
            found = corpus.MensCorpus.model_validate(raw)
        except pydantic.ValidationError:
            text = f"This version of the operator cannot read MensCorpus {name}. See its condition"
            return _invalid(reasons.CORPUS_NOT_READY, f"{text} Succeeded.")
        by_type = {condition.type: condition for condition in found.status.conditions}
        top = by_type.get(condition_types.SUCCEEDED)
        if top is not None and top.status == "True" and found.status.artifact is not None:
            return found
        # Without its message: each change of that one would change this status too.
        reason = f" ({top.reason})" if top else ""
        text = f"MensCorpus {name} has not succeeded{reason}. See kubectl describe mc"
        return run_kinds.UnmetPrecondition(
            condition_types.VALIDATED,
            facts.Problem(reasons.CORPUS_NOT_READY, f"{text} -n {namespace} {name}"),
            in_progress=top is None or top.status != "False",
        )

    def job(self, attempt: batch.Attempt, inputs: run_kinds.Inputs) -> Mapping[str, Any]:
        """Return the Job of an attempt."""
        base, dataset = inputs.artifacts
        meta, spec = self.resource.metadata, self.resource.spec
        previous = self.resource.status
        last = names.parse_job(previous.job_name)
        # The micro-batch that fitted into memory counts for the same inputs, in an unfinished run.
        same = last is not None and last[0] == attempt.key and previous.completion_time is None
        if same and previous.micro_batch_size is not None:
            schedule = spec.schedule.model_copy(
                update={"micro_batch_size": previous.micro_batch_size}
            )
            spec = spec.model_copy(update={"schedule": schedule})
        return batch.job(
            installation=self.installation,
            kind=self.resource.kind,
            metadata=meta,
            image=self.installation.images.trainer,
            module="mens_trainer",
            work=jobs.TrainJob(
                resource=jobs.Resource(
                    namespace=meta.namespace,
                    name=meta.name,
                    uid=meta.uid,
                    generation=meta.generation,
                ),
                spec=spec,
                attempt=attempt.number,
                base=base,
                corpus=dataset,
                output=self.output(attempt.key),
                threads=pods.threads(spec.resources),
            ),
            resources=spec.resources,
            attempt=attempt,
            deadline_seconds=spec.active_deadline_seconds,
            queue=spec.queue_name,
        )

    def output(self, key: str) -> str:
        """Return the output folder for a key."""
        bucket = refs.Uri.parse(self.bucket)
        return str(layout.run(bucket, self.resource.metadata.uid, key))

    def result(self, artifact: facts.Artifact) -> Mapping[str, Any]:
        """Return the held-out loss from the manifest; a value of unknown form is left out."""
        return {"held_out_loss": _held_out_loss(artifact)}

    def doubts(self, artifact: facts.Artifact) -> str:
        """Return a warning if training has made the model worse."""
        loss = _held_out_loss(artifact)
        if loss is None or float(loss.after) < float(loss.before):
            return ""
        return (
            f"But the held-out loss rose from {loss.before} to {loss.after}: the adapter is worse"
            " than its base model. Lower spec.schedule.learningRate, or train on more data."
        )

    def less_memory(self, changes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Halve the micro-batch; the effective batch stays, so accumulation doubles."""
        current = changes.get("micro_batch_size", self.resource.status.micro_batch_size)
        current = current or self.resource.spec.schedule.micro_batch_size
        return {"micro_batch_size": current // 2} if current > 1 else None


def _artifact_of(data: corpus.MensCorpus) -> refs.ArtifactRef | run_kinds.UnmetPrecondition:
    """Return the artifact of a corpus that has succeeded, unless URI or license rule it out."""
    made, compliance, name = data.status.artifact, data.status.compliance, data.metadata.name
    assert made is not None
    try:
        uri = refs.Uri.parse(made.uri)
    except errors.NameRefused as error:
        text = f"{children.sentence(str(error))} MensCorpus {name} reports it in"
        return _invalid(error.reason, f"{text} status.artifact.uri. Build the corpus again.")
    if compliance and compliance.license_class == str(manifests.LicenseClass.UNKNOWN):
        text = f"MensCorpus {name} contains rows of unknown license. Set the license of each source"
        problem = facts.Problem(reasons.LICENSE_UNKNOWN, f"{text} (spec.sources[].license).")
        return run_kinds.UnmetPrecondition(condition_types.LICENSE_CLEARED, problem)
    return refs.ArtifactRef(uri=uri, digest=digests.Digest.parse(made.digest))


def _invalid(reason: str, message: str) -> run_kinds.UnmetPrecondition:
    return run_kinds.UnmetPrecondition(condition_types.VALIDATED, facts.Problem(reason, message))


def _held_out_loss(artifact: facts.Artifact) -> trainrun.HeldOutLoss | None:
    loss = artifact.manifest.details.get("heldOutLoss")
    if not isinstance(loss, dict):
        return None
    texts = {name: decimal(loss.get(name)) for name in ("before", "after")}
    try:
        return trainrun.HeldOutLoss.model_validate(texts)
    except pydantic.ValidationError:
        return None


def decimal(value: Any) -> Any:
    """Return a number as a decimal string, as the API has it; other values are unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return f"{value:.6g}"
