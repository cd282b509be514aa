"""From an object of one of the three kinds to its Outcome: total, whatever the API server holds."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import pydantic

from mens.api import condition_types, corpus, kube, reasons, serve, trainrun
from mens.artifacts import errors
from mens_operator.manifests import names, platform
from mens_operator.plans import children, conditions, outcomes
from mens_operator.plans import corpus as corpora
from mens_operator.plans import serve as endpoints
from mens_operator.plans import trainrun as runs

_LOG = logging.getLogger(__name__)

_TYPES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "MensCorpus": (condition_types.CORPUS, condition_types.SUCCEEDED),
    "MensTrainRun": (condition_types.TRAIN_RUN, condition_types.SUCCEEDED),
    "MensServe": (condition_types.SERVE, condition_types.READY),
}
_Resource: TypeAlias = corpus.MensCorpus | trainrun.MensTrainRun | serve.MensServe
_MODELS: Final[Mapping[str, type[_Resource]]] = {
    "MensCorpus": corpus.MensCorpus,
    "MensTrainRun": trainrun.MensTrainRun,
    "MensServe": serve.MensServe,
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
    if meta.annotations.get(names.PAUSE_ANNOTATION) == "disabled":
        return _paused(raw, meta, now)
    try:
        resource = _MODELS[raw["kind"]].model_validate(raw)
    except pydantic.ValidationError as error:
        return _unreadable(raw, meta, error, now, policy)
    try:
        return _decide(
            resource, observed, {"now": now, "installation": installation, "policy": policy}
        )
    except errors.NameRefused as error:
        text = f"{children.sentence(str(error))} Correct it where it is set."
        return _unplanned(raw, meta, (error.reason, text), now, policy)
    except Exception as error:
        _LOG.exception("%s %s/%s: planning failed", raw["kind"], meta.namespace, meta.name)
        text = f"{_place(error)}: see the operator's log and please report it; it is tried again."
        return _unplanned(raw, meta, (reasons.INTERNAL_ERROR, text), now, policy)


def _decide(
    resource: _Resource, observed: outcomes.Observed, arguments: Mapping[str, Any]
) -> outcomes.Outcome:
    match resource:
        case corpus.MensCorpus():
            return corpora.plan(resource, observed, **arguments)
        case trainrun.MensTrainRun():
            return runs.plan(resource, observed, **arguments)
        case _:
            return endpoints.plan(resource, observed, **arguments)


def references(raw: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Return kind and name of the other resources that a resource refers to, if it can be read."""
    spec = _mapping(raw.get("spec"))
    if raw["kind"] == "MensTrainRun":
        kind, named = "MensCorpus", [_mapping(spec.get("corpusRef")).get("name")]
    elif raw["kind"] == "MensServe":
        adapters = spec.get("adapters")
        items = adapters if isinstance(adapters, list) else []
        refs = [_mapping(_mapping(item).get("trainRunRef")) for item in items]
        kind, named = "MensTrainRun", [ref.get("name") for ref in refs]
    else:
        return frozenset()
    return frozenset((kind, name) for name in named if name and isinstance(name, str))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _paused(raw: Mapping[str, Any], meta: kube.ObjectMeta, now: datetime) -> outcomes.Outcome:
    text = (
        f"Reconciliation is disabled by the annotation {names.PAUSE_ANNOTATION}. Remove the"
        " annotation to resume."
    )
    draft, top = _draft(raw, meta, now)
    if draft.was(top, conditions.TRUE) or draft.was(top, conditions.FALSE):
        return outcomes.Outcome()
    draft.set(top, conditions.UNKNOWN, reasons.DISABLED, text)
    return _only_conditions(raw, meta, draft)


def _unreadable(
    raw: Mapping[str, Any],
    meta: kube.ObjectMeta,
    error: pydantic.ValidationError,
    now: datetime,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    if _is_over(raw, meta):
        return outcomes.Outcome()  # As a version that could read it has said.
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    value = children.shortened(json.dumps(first["input"], default=str), 120)
    text = (
        f"{where} is {value}: {first['msg']}."
        " Correct it, or install an operator that knows the field."
    )
    draft, top = _draft(raw, meta, now)
    draft.set(top, conditions.FALSE, reasons.SPEC_INVALID, text)
    return _only_conditions(raw, meta, draft, requeue_after=policy.wrong_input.longest)


def _unplanned(
    raw: Mapping[str, Any],
    meta: kube.ObjectMeta,
    said: tuple[str, str],
    now: datetime,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    """Say in the top condition why there is no plan, and look again after a pause that grows."""
    if _is_over(raw, meta):
        return outcomes.Outcome()
    draft, top = _draft(raw, meta, now)
    if (raw.get("status") or {}).get("completionTime"):
        top = (
            condition_types.RUNNING
        )  # The good end of an older spec may be the end of this one too.
    state = conditions.UNKNOWN if top == condition_types.SUCCEEDED else conditions.FALSE
    draft.set(top, state, *said)
    return _only_conditions(
        raw, meta, draft, requeue_after=policy.defect.since(draft.age(top, state))
    )


def _is_over(raw: Mapping[str, Any], meta: kube.ObjectMeta) -> bool:
    status = raw.get("status") or {}
    return bool(
        status.get("completionTime") and status.get("observedGeneration") == meta.generation
    )


def _place(error: Exception) -> str:
    """Return kind and place of an error; its text may hold what only the log should."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} while planning"


def refused(raw: Mapping[str, Any], why: str, now: datetime) -> outcomes.Outcome:
    """Say what the API server refuses; a run may still succeed, an endpoint is not ready."""
    meta = kube.ObjectMeta.model_validate(raw["metadata"])
    draft, top = _draft(raw, meta, now)
    state = conditions.UNKNOWN if top == condition_types.SUCCEEDED else conditions.FALSE
    text = f"{children.sentence(why)} Make it possible or change the spec; it is tried again."
    draft.set(top, state, reasons.OBJECT_REFUSED, text)
    return _only_conditions(raw, meta, draft)


def _draft(
    raw: Mapping[str, Any], meta: kube.ObjectMeta, now: datetime
) -> tuple[conditions.Draft, str]:
    types, top = _TYPES[raw["kind"]]
    before = []
    for item in (raw.get("status") or {}).get("conditions") or ():
        try:
            before.append(kube.Condition.model_validate(item))
        except pydantic.ValidationError:
            continue
    return conditions.Draft(before, types, generation=meta.generation, now=now), top


def _only_conditions(
    raw: Mapping[str, Any],
    meta: kube.ObjectMeta,
    draft: conditions.Draft,
    *,
    requeue_after: float | None = None,
) -> outcomes.Outcome:
    """Keep the status as it is, unread, but for its conditions."""
    stated = [condition.wire() for condition in draft.done()]
    kept = dict(raw.get("status") or {})
    # An end that was reached under an older spec must not become that of today's.
    seen = kept.get("observedGeneration", 0) if kept.get("completionTime") else meta.generation
    status = {**kept, "observedGeneration": seen, "conditions": stated}
    notes = draft.notes(_TYPES[raw["kind"]][1])
    return outcomes.Outcome(status=status, notes=notes, requeue_after=requeue_after)
