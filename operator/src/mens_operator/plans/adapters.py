"""Adapters of an endpoint: which artifact each one is, whether it fits the base, and its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from mens.api import condition_types, reasons, serve, trainrun
from mens.artifacts import digests, errors, manifests, refs
from mens.runtime import jobs
from mens_operator.plans import children, facts


@dataclass(frozen=True)
class Adapter:
    """What is known about one adapter."""

    spec: serve.Adapter
    ref: refs.ArtifactRef | None
    """Its artifact, if that is known."""
    served: bool
    """Whether that artifact belongs into the server's configuration."""
    problem: facts.Problem | None
    """What is wrong; None for an adapter that is valid or whose artifact is still being read."""
    compliance: manifests.Compliance | None = None
    """License obligations of serving it; None unless its manifest could be read."""
    note: str = ""
    """Message for an adapter that is valid."""


@dataclass(frozen=True)
class Context:
    """What adapters are evaluated against."""

    namespace: str
    references: Mapping[tuple[str, str], Mapping[str, Any]]
    """Other resources of the namespace by (kind, name)."""
    previous: Mapping[str, serve.AdapterStatus]
    """The previous status of each adapter, by name."""
    base: facts.Artifact | facts.Problem | None
    facts: facts.Facts


def evaluate(spec: serve.Adapter, context: Context) -> Adapter:
    """Resolve an adapter to its artifact and decide whether it may be served."""
    ref, previous, note = _resolve(spec, context), _previous_ref(spec, context), ""
    serving = previous is not None and context.previous[spec.name].ready
    if isinstance(ref, facts.Problem):
        if previous is None or ref.reason != reasons.TRAIN_RUN_NOT_FOUND:
            return Adapter(spec, previous if serving else None, serving, ref)
        ref, note = previous, "The MensTrainRun no longer exists; its artifact is still served."
    answer = context.facts.output(str(ref.uri), str(ref.digest))
    if answer is None:
        return Adapter(spec, ref, False, None)
    if isinstance(answer, facts.Problem):
        kept = previous if serving and answer.storage else None
        return Adapter(spec, kept or ref, kept is not None, answer)
    base = context.base
    problem = _mismatch(spec, answer, base) if isinstance(base, facts.Artifact) else None
    if problem is not None:
        return Adapter(spec, ref, False, problem)
    return Adapter(spec, ref, True, None, answer.manifest.compliance, note)


def status(
    adapter: Adapter, applied: jobs.ServedAdapter | None, context: Context
) -> serve.AdapterStatus:
    """Return the status of an adapter: the artifact that is served, which may lag behind the spec.

    `applied` is the adapter of this name in the configuration of the Deployment's pods.
    """
    problem, run = adapter.problem, adapter.spec.train_run_ref
    train_run, ref = run.name if run else None, adapter.ref
    reason, text = (problem.reason, problem.message) if problem else (reasons.ADAPTERS_READY, "")
    if applied is not None and applied.artifact != ref:
        previous, ref = context.previous.get(adapter.spec.name), applied.artifact
        known = previous is not None and (previous.uri, previous.digest) == _texts(ref)
        train_run = previous.train_run if known and previous is not None else None
    if problem is None:
        text = adapter.note
        if adapter.ref is not None and ref != adapter.ref:
            text = f"{adapter.ref.digest} is verified. It is served once the endpoint is Ready."
        elif applied is None:
            text = "The adapter is verified. It is served once the endpoint is Ready."
        if applied is None or ref != adapter.ref:
            reason = reasons.PENDING
    uri, digest = _texts(ref) if ref is not None else (None, None)
    return serve.AdapterStatus(
        name=adapter.spec.name,
        ready=applied is not None,
        train_run=train_run,
        reason=reason,
        message=text,
        uri=uri,
        digest=digest,
    )


def _texts(ref: refs.ArtifactRef) -> tuple[str, str]:
    return str(ref.uri), str(ref.digest)


def _previous_ref(spec: serve.Adapter, context: Context) -> refs.ArtifactRef | None:
    """Return the artifact in the previous status, if name and origin are unchanged."""
    run = spec.train_run_ref.name if spec.train_run_ref else None
    previous, artifact = context.previous.get(spec.name), spec.artifact
    if previous is None or previous.train_run != run or not (previous.uri and previous.digest):
        return None
    if artifact is not None and artifact.digest != previous.digest:
        return None
    found = _ref(previous.uri, previous.digest, "status.adapters[].uri")
    return found if isinstance(found, refs.ArtifactRef) else None


def _resolve(spec: serve.Adapter, context: Context) -> refs.ArtifactRef | facts.Problem:
    """Return the artifact that the spec refers to."""
    if spec.artifact is not None:
        field = f"artifact.uri of adapter {spec.name}"
        return _ref(spec.artifact.uri, spec.artifact.digest, field)
    name = spec.train_run_ref.name if spec.train_run_ref else ""
    raw = context.references.get(("MensTrainRun", name))
    if raw is None:
        text = f"MensTrainRun {name} does not exist in namespace {context.namespace}. Create it, or"
        text = f"{text} correct trainRunRef of adapter {spec.name}."
        return facts.Problem(reasons.TRAIN_RUN_NOT_FOUND, text)
    try:
        run = trainrun.MensTrainRun.model_validate(raw)
    except pydantic.ValidationError:
        text = f"This version of the operator cannot read MensTrainRun {name}. See its condition"
        return facts.Problem(reasons.TRAIN_RUN_NOT_READY, f"{text} Succeeded.")
    if run.status.artifact is not None and run.status.completion_time is not None:
        field = f"status.artifact.uri of MensTrainRun {name}"
        return _ref(run.status.artifact.uri, run.status.artifact.digest, field)
    top = [item for item in run.status.conditions if item.type == condition_types.SUCCEEDED]
    reason = f" ({top[0].reason})" if top else ""
    text = f"MensTrainRun {name} has not succeeded yet{reason}. See kubectl describe mtr"
    return facts.Problem(reasons.TRAIN_RUN_NOT_READY, f"{text} -n {context.namespace} {name}")


def _ref(uri: str, digest: str, field: str) -> refs.ArtifactRef | facts.Problem:
    try:
        return refs.ArtifactRef(uri=refs.Uri.parse(uri), digest=digests.Digest.parse(digest))
    except errors.NameRefused as error:
        text = f"{field} is {uri}. {children.sentence(str(error))} Give the folder of an artifact."
        return facts.Problem(error.reason, text)


def _mismatch(
    spec: serve.Adapter, adapter: facts.Artifact, base: facts.Artifact
) -> facts.Problem | None:
    """Return why an adapter cannot be served on a base model; bases are compared by digest."""
    if adapter.manifest.kind is not manifests.Kind.ADAPTER:
        text = f"Adapter {spec.name} refers to an artifact of kind {adapter.manifest.kind}."
        text = f"{text} Give the artifact of a MensTrainRun."
        return facts.Problem(reasons.ADAPTER_INVALID, text)
    if adapter.license is not None:
        return adapter.license
    trained_on = adapter.manifest.input(manifests.Role.BASE)
    if trained_on is not None and trained_on.digest == base.digest:
        return None
    digest = trained_on.digest if trained_on else "an unknown base model"
    return facts.Problem(
        reasons.BASE_MISMATCH,
        f"Adapter {spec.name} was trained on {digest}, but the endpoint serves {base.digest}. Train"
        " it on this base model, or serve it with a MensServe of its own base model.",
    )
