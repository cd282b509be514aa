"""Adapters of an endpoint: which artifact each one is, whether it fits, and what is said of it."""

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

    wanted: serve.Adapter
    ref: refs.ArtifactRef | None
    """Which artifact it is, as far as that is known."""
    served: bool
    """Whether that artifact should be part of the configuration."""
    trouble: facts.Trouble | None
    """What is wrong; None for one that is right, or that is still being asked about."""
    compliance: manifests.Compliance | None = None
    """What one owes for serving it; None unless its manifest could be read."""
    note: str = ""
    """What there is to say of one that is right."""


@dataclass(frozen=True)
class Context:
    """What adapters are judged by."""

    namespace: str
    references: Mapping[tuple[str, str], Mapping[str, Any]]
    """Other resources of the namespace by (kind, name)."""
    said: Mapping[str, serve.AdapterStatus]
    """What the status says of each, by name."""
    base: facts.Artifact | facts.Trouble | None
    facts: facts.Facts


def look(wanted: serve.Adapter, context: Context) -> Adapter:
    """Find out what an adapter is and whether it may be served."""
    ref, last, note = _resolve(wanted, context), _last(wanted, context), ""
    serves = last is not None and context.said[wanted.name].ready
    if isinstance(ref, facts.Trouble):
        if last is None or ref.reason != reasons.TRAIN_RUN_NOT_FOUND:
            return Adapter(wanted, last if serves else None, serves, ref)
        ref, note = last, "The run is gone; what it published goes on being served."
    answer = context.facts.output(str(ref.uri), str(ref.digest))
    if answer is None:
        return Adapter(wanted, ref, False, None)
    if isinstance(answer, facts.Trouble):
        kept = last if serves and answer.storage else None
        return Adapter(wanted, kept or ref, kept is not None, answer)
    base = context.base
    trouble = _misfit(wanted, answer, base) if isinstance(base, facts.Artifact) else None
    if trouble is not None:
        return Adapter(wanted, ref, False, trouble)
    return Adapter(wanted, ref, True, None, answer.manifest.compliance, note)


def state(
    adapter: Adapter, applied: jobs.ServedAdapter | None, context: Context
) -> serve.AdapterStatus:
    """Return what the status says of an adapter: what is served, which the spec may be ahead of.

    `applied` is what the Deployment's pods are told under its name.
    """
    trouble, run = adapter.trouble, adapter.wanted.train_run_ref
    origin, ref = run.name if run else None, adapter.ref
    reason, text = (trouble.reason, trouble.message) if trouble else (reasons.ADAPTERS_READY, "")
    if applied is not None and applied.artifact != ref:
        before, ref = context.said.get(adapter.wanted.name), applied.artifact
        known = before is not None and (before.uri, before.digest) == _texts(ref)
        origin = before.train_run if known and before is not None else None
    if trouble is None:
        text = adapter.note
        if adapter.ref is not None and ref != adapter.ref:
            text = f"{adapter.ref.digest} is verified and is served once Ready says that it can be."
        elif applied is None:
            text = "It is verified and is served once Ready says that it can be."
        if applied is None or ref != adapter.ref:
            reason = reasons.PENDING
    uri, digest = _texts(ref) if ref is not None else (None, None)
    return serve.AdapterStatus(
        name=adapter.wanted.name,
        ready=applied is not None,
        train_run=origin,
        reason=reason,
        message=text,
        uri=uri,
        digest=digest,
    )


def _texts(ref: refs.ArtifactRef) -> tuple[str, str]:
    return str(ref.uri), str(ref.digest)


def _last(wanted: serve.Adapter, context: Context) -> refs.ArtifactRef | None:
    """Return the artifact that the status has under this name from the same place."""
    run = wanted.train_run_ref.name if wanted.train_run_ref else None
    said, given = context.said.get(wanted.name), wanted.artifact
    if said is None or said.train_run != run or not (said.uri and said.digest):
        return None
    if given is not None and given.digest != said.digest:
        return None
    found = _ref(said.uri, said.digest, "status.adapters[].uri")
    return found if isinstance(found, refs.ArtifactRef) else None


def _resolve(wanted: serve.Adapter, context: Context) -> refs.ArtifactRef | facts.Trouble:
    """Find out which artifact is meant."""
    if wanted.artifact is not None:
        where = f"artifact.uri of adapter {wanted.name}"
        return _ref(wanted.artifact.uri, wanted.artifact.digest, where)
    name = wanted.train_run_ref.name if wanted.train_run_ref else ""
    raw = context.references.get(("MensTrainRun", name))
    if raw is None:
        text = f"There is no MensTrainRun {name} in namespace {context.namespace}: apply one, or"
        return facts.Trouble(
            reasons.TRAIN_RUN_NOT_FOUND, f"{text} correct trainRunRef of adapter {wanted.name}."
        )
    try:
        run = trainrun.MensTrainRun.model_validate(raw)
    except pydantic.ValidationError:
        text = f"MensTrainRun {name} cannot be read by this version of the operator: see its"
        return facts.Trouble(reasons.TRAIN_RUN_NOT_READY, f"{text} condition Succeeded.")
    if run.status.artifact is not None and run.status.completion_time is not None:
        where = f"status.artifact.uri of MensTrainRun {name}"
        return _ref(run.status.artifact.uri, run.status.artifact.digest, where)
    top = [item for item in run.status.conditions if item.type == condition_types.SUCCEEDED]
    why = f" ({top[0].reason})" if top else ""
    text = f"MensTrainRun {name} has not succeeded yet{why}: kubectl describe mtr"
    return facts.Trouble(reasons.TRAIN_RUN_NOT_READY, f"{text} -n {context.namespace} {name}")


def _ref(uri: str, digest: str, where: str) -> refs.ArtifactRef | facts.Trouble:
    try:
        return refs.ArtifactRef(uri=refs.Uri.parse(uri), digest=digests.Digest.parse(digest))
    except errors.NameRefused as error:
        text = f"{where} is {uri}. {children.sentence(str(error))} Give the folder of an artifact."
        return facts.Trouble(error.reason, text)


def _misfit(
    wanted: serve.Adapter, adapter: facts.Artifact, base: facts.Artifact
) -> facts.Trouble | None:
    """Return why an adapter cannot run on a base: they are compared by digest."""
    if adapter.manifest.kind is not manifests.Kind.ADAPTER:
        text = f"Adapter {wanted.name} names an artifact of kind {adapter.manifest.kind}."
        return facts.Trouble(reasons.ADAPTER_INVALID, f"{text} Give the artifact of a train run.")
    if adapter.license is not None:
        return adapter.license
    trained_on = adapter.manifest.input(manifests.Role.BASE)
    if trained_on is not None and trained_on.digest == base.digest:
        return None
    said = trained_on.digest if trained_on else "no base at all"
    return facts.Trouble(
        reasons.BASE_MISMATCH,
        f"Adapter {wanted.name} was trained on {said}, the endpoint serves {base.digest}. Train it"
        " on this base, or serve it in a MensServe of its own base.",
    )
