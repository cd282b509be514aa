"""MensTrainRun: waits for its corpus, checks base and licenses, then trains, attempt by attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pydantic

from mens.api import condition_types, corpus, reasons, trainrun
from mens.artifacts import digests, errors, layout, manifests, refs
from mens.runtime import jobs
from mens_operator.manifests import batch, names, platform, pods
from mens_operator.plans import children, facts, outcomes, run_kinds, runs
from mens_operator.plans import corpus as corpora


@dataclass(frozen=True)
class _Inputs:
    """What a run is trained from."""

    base: refs.ArtifactRef
    corpus: refs.ArtifactRef


def plan(
    resource: trainrun.MensTrainRun,
    observed: outcomes.Observed,
    *,
    now: datetime,
    installation: platform.Platform,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    """Decide what should exist for a MensTrainRun."""
    own = corpora.spec_keys(resource)
    course = runs.Course(_terms(resource, own, installation), observed, now=now, policy=policy)
    last = names.parse_job(resource.status.job_name)
    past = [_past_key(resource, each) for each in own]
    if course.is_over(same_inputs=last is not None and last[0] in past):
        return course.over()
    if resource.spec.suspend:
        return course.suspended()
    job = course.live()
    if job is not None:
        return course.replace(job) if course.is_outdated(job) else course.follow(job)
    found = _inputs(resource, observed, course.facts)
    if found is None:
        return course.asking()
    if isinstance(found, tuple):
        return course.blocked(*found)
    made_of = (str(found.base.digest), str(found.corpus.digest))
    keys = [(names.key(each, *made_of), each) for each in own]
    return course.start(keys, lambda attempt: _job(resource, found, attempt, installation))


def _past_key(resource: trainrun.MensTrainRun, own: str) -> str:
    """Return the key that the artifact would have under today's spec: inputs are its own."""
    made_of = {entry.role: entry.digest for entry in resource.status.lineage}
    return names.key(own, made_of.get("Base", ""), made_of.get("Corpus", ""))


def _inputs(
    resource: trainrun.MensTrainRun, observed: outcomes.Observed, known: facts.Facts
) -> _Inputs | tuple[run_kinds.Obstacle, ...] | None:
    """Find base and corpus and judge their licenses, before any GPU hour; None: ask first."""
    uri = resource.spec.base_model.uri
    data, base = _corpus(resource, observed), known.base(uri)
    if base is None:
        return None
    obstacles: list[run_kinds.Obstacle] = []
    if isinstance(base, facts.Trouble):
        obstacles.append(run_kinds.Obstacle(condition_types.VALIDATED, base))
    elif base.license is not None:
        obstacles.append(run_kinds.Obstacle(condition_types.LICENSE_CLEARED, base.license))
    if isinstance(data, run_kinds.Obstacle):
        obstacles.append(data)
    if obstacles or isinstance(base, facts.Trouble) or isinstance(data, run_kinds.Obstacle):
        return tuple(obstacles)
    made = data.status.artifact
    assert made is not None
    try:
        where = refs.Uri.parse(made.uri)
    except errors.NameRefused as error:
        text = f"{children.sentence(str(error))} MensCorpus {data.metadata.name} reports it in"
        trouble = facts.Trouble(error.reason, f"{text} status.artifact.uri: make the corpus anew.")
        return (run_kinds.Obstacle(condition_types.VALIDATED, trouble),)
    judged = data.status.compliance
    if judged is not None and judged.license_class == str(manifests.LicenseClass.UNKNOWN):
        return (run_kinds.Obstacle(condition_types.LICENSE_CLEARED, _unknown_license(data)),)
    return _Inputs(
        base=refs.ArtifactRef(uri=refs.Uri.parse(uri), digest=base.digest),
        corpus=refs.ArtifactRef(uri=where, digest=digests.Digest.parse(made.digest)),
    )


def _unknown_license(data: corpus.MensCorpus) -> facts.Trouble:
    text = f"MensCorpus {data.metadata.name} holds rows of unknown license. Name the license of"
    return facts.Trouble(reasons.LICENSE_UNKNOWN, f"{text} each source (spec.sources[].license).")


def _corpus(
    resource: trainrun.MensTrainRun, observed: outcomes.Observed
) -> corpus.MensCorpus | run_kinds.Obstacle:
    name, where = resource.spec.corpus_ref.name, resource.metadata.namespace
    raw = observed.references.get(("MensCorpus", name))
    if raw is None:
        text = f"There is no MensCorpus {name} in namespace {where}: apply one, or correct"
        return _missing(f"{text} spec.corpusRef.name.")
    try:
        found = corpus.MensCorpus.model_validate(raw)
    except pydantic.ValidationError:
        text = f"MensCorpus {name} cannot be read by this version of the operator: see its"
        trouble = facts.Trouble(reasons.CORPUS_NOT_READY, f"{text} condition Succeeded.")
        return run_kinds.Obstacle(condition_types.VALIDATED, trouble)
    said = {condition.type: condition for condition in found.status.conditions}
    top = said.get(condition_types.SUCCEEDED)
    if top is not None and top.status == "True" and found.status.artifact is not None:
        return found
    # Its message would change this status with each of its own.
    why = f" ({top.reason})" if top else ""
    text = f"MensCorpus {name} has not succeeded{why}: kubectl describe mc -n {where} {name}"
    trouble = facts.Trouble(reasons.CORPUS_NOT_READY, text)
    return run_kinds.Obstacle(
        condition_types.VALIDATED, trouble, waiting=top is None or top.status != "False"
    )


def _missing(text: str) -> run_kinds.Obstacle:
    return run_kinds.Obstacle(
        condition_types.VALIDATED, facts.Trouble(reasons.CORPUS_NOT_FOUND, text)
    )


def _terms(
    resource: trainrun.MensTrainRun, own: tuple[str, ...], installation: platform.Platform
) -> run_kinds.Terms[trainrun.MensTrainRunStatus]:
    return run_kinds.Terms(
        kind=resource.kind,
        types=condition_types.TRAIN_RUN,
        inputs_type=condition_types.VALIDATED,
        metadata=resource.metadata,
        spec_keys=own,
        shape=corpora.shape(resource),
        status=resource.status,
        retry_limit=resource.spec.retry.limit,
        ttl_seconds=resource.spec.ttl_seconds_after_finished,
        deadline_seconds=resource.spec.active_deadline_seconds,
        bucket=installation.bucket,
        output=lambda key: _output(resource, key, installation),
        cleared={
            condition_types.VALIDATED: (reasons.PREFLIGHT_PASSED, "The preflight passed."),
            condition_types.LICENSE_CLEARED: (
                reasons.LICENSE_CLEARED,
                "The licenses of base model and corpus are known.",
            ),
            condition_types.STORAGE_READY: (reasons.STORAGE_READY, f"{installation.bucket} works."),
        },
        shrink=lambda before: _shrink(resource, before),
        result=_result,
        progress_proves_inputs=True,
        doubt=_doubt,
        next_step=f"Serve it: spec.adapters[].trainRunRef.name: {resource.metadata.name}.",
    )


def _shrink(
    resource: trainrun.MensTrainRun, before: trainrun.MensTrainRunStatus
) -> Mapping[str, Any] | None:
    """Halve the micro-batch; the effective batch stays, so accumulation doubles."""
    now = before.micro_batch_size or resource.spec.schedule.micro_batch_size
    return {"micro_batch_size": now // 2} if now > 1 else None


def _output(resource: trainrun.MensTrainRun, key: str, installation: platform.Platform) -> str:
    return str(layout.run(refs.Uri.parse(installation.bucket), resource.metadata.uid, key))


def _job(
    resource: trainrun.MensTrainRun,
    inputs: _Inputs,
    attempt: batch.Attempt,
    installation: platform.Platform,
) -> Mapping[str, Any]:
    meta, spec = resource.metadata, resource.spec
    before = resource.status
    last = names.parse_job(before.job_name)
    # What memory ran out for in a run of other inputs, or in one that is over, is no measure.
    goes_on = last is not None and last[0] == attempt.key and before.completion_time is None
    smaller = before.micro_batch_size if goes_on else None
    if smaller is not None:
        schedule = spec.schedule.model_copy(update={"micro_batch_size": smaller})
        spec = spec.model_copy(update={"schedule": schedule})
    return batch.job(
        installation=installation,
        kind=resource.kind,
        metadata=meta,
        image=installation.images.trainer,
        module="mens_trainer",
        work=jobs.TrainJob(
            resource=jobs.Resource(
                namespace=meta.namespace, name=meta.name, uid=meta.uid, generation=meta.generation
            ),
            spec=spec,
            attempt=attempt.number,
            base=inputs.base,
            corpus=inputs.corpus,
            output=_output(resource, attempt.key, installation),
            threads=pods.threads(spec.resources),
        ),
        resources=spec.resources,
        attempt=attempt,
        deadline_seconds=spec.active_deadline_seconds,
        queue=spec.queue_name,
    )


def _result(found: facts.Artifact) -> Mapping[str, Any]:
    """Read the run's figures from its manifest."""
    loss = found.manifest.details.get("heldOutLoss")
    if not isinstance(loss, dict):
        return {"held_out_loss": None}
    texts = {name: decimal(loss.get(name)) for name in ("before", "after")}
    try:
        return {"held_out_loss": trainrun.HeldOutLoss.model_validate(texts)}
    except pydantic.ValidationError:
        return {"held_out_loss": None}


def _doubt(found: facts.Artifact) -> str:
    """Say that training has made the model worse, where it has."""
    loss = _result(found)["held_out_loss"]
    if loss is None or float(loss.after) < float(loss.before):
        return ""
    return (
        f"But the held-out loss rose from {loss.before} to {loss.after}: this adapter is worse than"
        " its base. Lower spec.schedule.learningRate, or train on more data."
    )


def decimal(value: Any) -> Any:
    """Return a number as the decimal string of the API; strings pass."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return f"{value:.6g}"
