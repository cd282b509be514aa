"""MensCorpus: one Job that builds the corpus, tried until it is published."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pydantic

from mens.api import condition_types, corpus, reasons, trainrun
from mens.artifacts import layout, refs
from mens.runtime import jobs
from mens_operator.manifests import batch, names, platform
from mens_operator.plans import facts, outcomes, run_kinds, runs

BESIDE: Final = {"suspend", "retry", "ttl_seconds_after_finished", "active_deadline_seconds"}
"""Fields of the spec that no output depends on, and that need no new pod either."""
HOW: Final = {"resources", "queue_name"}
"""Fields that change how a pod runs, not what comes out."""


def plan(
    resource: corpus.MensCorpus,
    observed: outcomes.Observed,
    *,
    now: datetime,
    installation: platform.Platform,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    """Decide what should exist for a MensCorpus."""
    keys = spec_keys(resource)
    course = runs.Course(_terms(resource, keys, installation), observed, now=now, policy=policy)
    last = names.parse_job(resource.status.job_name)
    if course.is_over(same_inputs=last is not None and last[0] in keys):
        return course.over()
    if resource.spec.suspend:
        return course.suspended()
    job = course.live()
    if job is not None:
        return course.replace(job) if course.is_outdated(job) else course.follow(job)
    pairs = [(key, key) for key in keys]
    return course.start(pairs, lambda attempt: _job(resource, attempt, installation))


def spec_keys(resource: corpus.MensCorpus | trainrun.MensTrainRun) -> tuple[str, str]:
    """Return the hash of what the output depends on, and as it was when HOW was part of it.

    Without defaults: a field that a later version adds must not change it, or an upgrade would
    throw away what runs and build again what is done.
    """
    return _hash(resource, BESIDE | HOW), _hash(resource, BESIDE)


def shape(resource: corpus.MensCorpus | trainrun.MensTrainRun) -> str:
    """Return the hash of how a pod is to run."""
    return names.key(resource.spec.model_dump(mode="json", include=HOW, exclude_defaults=True))


def _hash(resource: corpus.MensCorpus | trainrun.MensTrainRun, exclude: set[str]) -> str:
    spec = resource.spec.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
    return names.key(resource.metadata.uid, spec)


def _terms(
    resource: corpus.MensCorpus, keys: tuple[str, ...], installation: platform.Platform
) -> run_kinds.Terms[corpus.MensCorpusStatus]:
    return run_kinds.Terms(
        kind=resource.kind,
        types=condition_types.CORPUS,
        inputs_type=condition_types.SOURCES_READY,
        metadata=resource.metadata,
        spec_keys=keys,
        shape=shape(resource),
        status=resource.status,
        retry_limit=resource.spec.retry.limit,
        ttl_seconds=resource.spec.ttl_seconds_after_finished,
        deadline_seconds=resource.spec.active_deadline_seconds,
        bucket=installation.bucket,
        output=lambda key: _output(resource, key, installation),
        cleared={
            condition_types.SOURCES_READY: (reasons.SOURCES_READY, "All sources could be read."),
            condition_types.STORAGE_READY: (reasons.STORAGE_READY, f"{installation.bucket} works."),
        },
        shrink=lambda _status: None,
        result=_result,
        progress_proves_inputs=False,
        doubt=lambda _: "",
        next_step=f"Train on it: spec.corpusRef.name: {resource.metadata.name}.",
    )


def _output(resource: corpus.MensCorpus, key: str, installation: platform.Platform) -> str:
    return str(layout.corpus(refs.Uri.parse(installation.bucket), resource.metadata.uid, key))


def _job(
    resource: corpus.MensCorpus, attempt: batch.Attempt, installation: platform.Platform
) -> Mapping[str, Any]:
    meta = resource.metadata
    return batch.job(
        installation=installation,
        kind=resource.kind,
        metadata=meta,
        image=installation.images.corpus,
        module="mens_corpus",
        work=jobs.CorpusJob(
            resource=jobs.Resource(
                namespace=meta.namespace, name=meta.name, uid=meta.uid, generation=meta.generation
            ),
            spec=resource.spec,
            attempt=attempt.number,
            output=_output(resource, attempt.key, installation),
        ),
        resources=resource.spec.resources,
        attempt=attempt,
        deadline_seconds=resource.spec.active_deadline_seconds,
    )


def _result(found: facts.Artifact) -> Mapping[str, Any]:
    """Read the corpus's figures from its manifest; figures of an unknown shape are left out."""
    details = found.manifest.details
    fingerprint = details.get("fingerprint")
    return {
        "rows": _rows(details.get("rows"), details.get("accounting")),
        "fingerprint": fingerprint[:128] if isinstance(fingerprint, str) else None,
    }


_FATES: Final = {
    "duplicate": ("deduplicated",),
    "filtered": ("filtered", "sampledOut"),
    "quarantined": ("quarantined",),
}
"""Field of `status.rows` -> what the accounting of a corpus calls it, by source and by reason."""


def _rows(rows: Any, accounting: Any) -> corpus.RowCounts | None:
    try:
        gone = {
            name: sum(
                sum(source[fate].values()) for source in accounting.values() for fate in fates
            )
            for name, fates in _FATES.items()
        }
    except (AttributeError, KeyError, TypeError):
        gone = {}
    try:
        return corpus.RowCounts.model_validate({**rows, **gone}) if rows else None
    except (TypeError, pydantic.ValidationError):
        return None
