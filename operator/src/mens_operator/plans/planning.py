"""From an object of one of the three kinds to its Outcome: total, whatever the API server holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pydantic

from mens.api import conditions, corpus, kube, reasons, serve, trainrun
from mens_operator.manifests import names, platform
from mens_operator.plans import corpus as corpora
from mens_operator.plans import observing, outcomes, stating
from mens_operator.plans import serve as endpoints
from mens_operator.plans import trainrun as runs

PAUSE: Final = f"{names.PREFIX}/reconcile"
"""Annotation; `disabled` stops all changes."""

_TYPES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "MensCorpus": (conditions.CORPUS, conditions.SUCCEEDED),
    "MensTrainRun": (conditions.TRAIN_RUN, conditions.SUCCEEDED),
    "MensServe": (conditions.SERVE, conditions.READY),
}


def plan(
    raw: Mapping[str, Any],
    observed: outcomes.Observed,
    *,
    now: datetime,
    installation: platform.Platform,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    """Decide what should exist for a resource as the API server holds it."""
    meta = kube.ObjectMeta.model_validate(raw["metadata"])
    if meta.deletion_timestamp is not None:
        return outcomes.Outcome()  # The garbage collector takes the children along.
    if meta.annotations.get(PAUSE) == "disabled":
        return _paused(raw, meta, now)
    arguments = {"now": now, "installation": installation, "policy": policy}
    try:
        match raw["kind"]:
            case "MensCorpus":
                read = corpus.MensCorpus.model_validate(raw)
                return corpora.plan(read, observed, **arguments)  # type: ignore[arg-type]
            case "MensTrainRun":
                run = trainrun.MensTrainRun.model_validate(raw)
                return runs.plan(run, observed, **arguments)  # type: ignore[arg-type]
            case _:
                endpoint = serve.MensServe.model_validate(raw)
                return endpoints.plan(endpoint, observed, **arguments)  # type: ignore[arg-type]
    except pydantic.ValidationError as error:
        return _unreadable(raw, meta, error, now)


def references(raw: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Return kind and name of the other resources that a resource refers to."""
    spec = raw.get("spec") or {}
    if raw["kind"] == "MensTrainRun":
        name = (spec.get("corpusRef") or {}).get("name")
        return frozenset({("MensCorpus", name)} if name else ())
    if raw["kind"] == "MensServe":
        adapters = spec.get("adapters") or ()
        named = [(item.get("trainRunRef") or {}).get("name") for item in adapters]
        return frozenset(("MensTrainRun", name) for name in named if name)
    return frozenset()


def _paused(raw: Mapping[str, Any], meta: kube.ObjectMeta, now: datetime) -> outcomes.Outcome:
    text = f"The annotation {PAUSE} is disabled: nothing is changed until it is removed."
    draft, top = _draft(raw, meta, now)
    if draft.was(top, stating.TRUE) or draft.was(top, stating.FALSE):
        return outcomes.Outcome()
    draft.set(top, stating.UNKNOWN, reasons.DISABLED, text)
    return _only_conditions(raw, meta, draft)


def _unreadable(
    raw: Mapping[str, Any], meta: kube.ObjectMeta, error: pydantic.ValidationError, now: datetime
) -> outcomes.Outcome:
    status = raw.get("status") or {}
    if status.get("completionTime") and status.get("observedGeneration") == meta.generation:
        return outcomes.Outcome()  # Over, as a version that could read it has said.
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = f"{where}: {first['msg']}. Correct it, or install an operator that knows the field."
    draft, top = _draft(raw, meta, now)
    draft.set(top, stating.FALSE, reasons.SPEC_INVALID, text)
    return _only_conditions(raw, meta, draft)


def refused(raw: Mapping[str, Any], why: str, now: datetime) -> outcomes.Outcome:
    """Say what the API server refuses; a run may still succeed, an endpoint is not ready."""
    meta = kube.ObjectMeta.model_validate(raw["metadata"])
    draft, top = _draft(raw, meta, now)
    state = stating.UNKNOWN if top == conditions.SUCCEEDED else stating.FALSE
    text = f"{observing.sentence(why)} Make it possible or change the spec; it is tried again."
    draft.set(top, state, reasons.OBJECT_REFUSED, text)
    return _only_conditions(raw, meta, draft)


def _draft(
    raw: Mapping[str, Any], meta: kube.ObjectMeta, now: datetime
) -> tuple[stating.Draft, str]:
    types, top = _TYPES[raw["kind"]]
    before = []
    for item in (raw.get("status") or {}).get("conditions") or ():
        try:
            before.append(kube.Condition.model_validate(item))
        except pydantic.ValidationError:
            continue
    return stating.Draft(before, types, generation=meta.generation, now=now), top


def _only_conditions(
    raw: Mapping[str, Any], meta: kube.ObjectMeta, draft: stating.Draft
) -> outcomes.Outcome:
    """Keep the status as it is, unread, but for its conditions."""
    stated = [condition.wire() for condition in draft.done()]
    kept = dict(raw.get("status") or {})
    status = {**kept, "observedGeneration": meta.generation, "conditions": stated}
    return outcomes.Outcome(status=status, notes=draft.notes(_TYPES[raw["kind"]][1]))
