"""Plans a resource of one of the three kinds; never raises, whatever the API server holds.

`plan` parses the resource and calls the plan of its kind. If it cannot be parsed or planned, its
conditions report the reason.
"""

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
from mens_operator.plans import children, conditions, outcomes, run_kinds, runs
from mens_operator.plans import corpus as corpus_plan
from mens_operator.plans import serve as serve_plan
from mens_operator.plans import trainrun as trainrun_plan

_LOG = logging.getLogger(__name__)

CONDITION_TYPES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "MensCorpus": (condition_types.CORPUS, condition_types.SUCCEEDED),
    "MensTrainRun": (condition_types.TRAIN_RUN, condition_types.SUCCEEDED),
    "MensServe": (condition_types.SERVE, condition_types.READY),
}
"""By kind: types of all conditions, and the type of the one that summarizes them."""
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
    """Decide what should exist for a resource, given as JSON of the API server."""
    meta = kube.ObjectMeta.model_validate(raw["metadata"])
    if meta.deletion_timestamp is not None:
        return outcomes.Outcome()  # The garbage collector deletes the children.
    if meta.annotations.get(names.PAUSE_ANNOTATION) == "disabled":
        return _paused(raw, meta, now)
    try:
        resource = _MODELS[raw["kind"]].model_validate(raw)
    except pydantic.ValidationError as error:
        return _spec_invalid(raw, meta, error, now, policy)
    try:
        if isinstance(resource, serve.MensServe):
            return serve_plan.plan(
                resource, observed, now=now, installation=installation, policy=policy
            )
        return runs.plan(_run_kind(resource, installation), observed, now=now, policy=policy)
    except errors.NameRefused as error:
        text = f"{children.sentence(str(error))} Correct the field or setting that contains it."
        problem = (error.reason, text)
    except Exception as error:
        _LOG.exception("%s %s/%s: planning failed", raw["kind"], meta.namespace, meta.name)
        text = f"{_place(error)}. See the operator's log and report it; the operator retries."
        problem = (reasons.INTERNAL_ERROR, text)
    return _planning_failed(raw, meta, problem, now, policy)


def _run_kind(resource: run_kinds.Run, installation: platform.Platform) -> run_kinds.RunKind:
    if isinstance(resource, corpus.MensCorpus):
        return corpus_plan.CorpusKind(resource, installation)
    return trainrun_plan.TrainRunKind(resource, installation)


def references(raw: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Return (kind, name) of the resources that a resource refers to; empty if unreadable."""
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
    stated, top = _conditions(raw, meta, now)
    if stated.was(top, conditions.TRUE) or stated.was(top, conditions.FALSE):
        return outcomes.Outcome()
    text = (
        f"The annotation {names.PAUSE_ANNOTATION}: disabled stops all changes. Remove the"
        " annotation to resume."
    )
    stated.set(top, conditions.UNKNOWN, reasons.DISABLED, text)
    return _with_conditions(raw, meta, stated)


def _spec_invalid(
    raw: Mapping[str, Any],
    meta: kube.ObjectMeta,
    error: pydantic.ValidationError,
    now: datetime,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    if _is_over(raw, meta):
        return outcomes.Outcome()  # A version that could read the spec has recorded the end.
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    value = children.single_line(json.dumps(first["input"], default=str), 120)
    text = (
        f"{field} is {value}: {first['msg']}."
        " Correct it, or install an operator version that supports the field."
    )
    stated, top = _conditions(raw, meta, now)
    stated.set(top, conditions.FALSE, reasons.SPEC_INVALID, text)
    return _with_conditions(raw, meta, stated, requeue_after=policy.invalid_input.maximum)


def _planning_failed(
    raw: Mapping[str, Any],
    meta: kube.ObjectMeta,
    problem: tuple[str, str],
    now: datetime,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    """Report reason and message of a failed plan, and plan again after a growing delay."""
    if _is_over(raw, meta):
        return outcomes.Outcome()
    stated, top = _conditions(raw, meta, now)
    if (raw.get("status") or {}).get("completionTime"):
        # The success of an older spec may be valid for the current one too.
        top = condition_types.RUNNING
    state = conditions.UNKNOWN if top == condition_types.SUCCEEDED else conditions.FALSE
    stated.set(top, state, *problem)
    delay = policy.internal_error.for_age(stated.age(top, state))
    return _with_conditions(raw, meta, stated, requeue_after=delay)


def _is_over(raw: Mapping[str, Any], meta: kube.ObjectMeta) -> bool:
    status = raw.get("status") or {}
    return bool(
        status.get("completionTime") and status.get("observedGeneration") == meta.generation
    )


def _place(error: Exception) -> str:
    """Return type and place of an error; its text may contain what only the log may hold."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} while planning"


def refused(raw: Mapping[str, Any], message: str, now: datetime) -> outcomes.Outcome:
    """Report that the API server refuses an object; a run may still succeed."""
    meta = kube.ObjectMeta.model_validate(raw["metadata"])
    stated, top = _conditions(raw, meta, now)
    state = conditions.UNKNOWN if top == condition_types.SUCCEEDED else conditions.FALSE
    text = (
        f"{children.sentence(message)} Remove the cause or change the spec; the operator retries."
    )
    stated.set(top, state, reasons.OBJECT_REFUSED, text)
    return _with_conditions(raw, meta, stated)


def _conditions(
    raw: Mapping[str, Any], meta: kube.ObjectMeta, now: datetime
) -> tuple[conditions.ConditionSet, str]:
    """Return the readable conditions of a status, and the type of the summarizing one."""
    types, top = CONDITION_TYPES[raw["kind"]]
    previous = []
    for item in (raw.get("status") or {}).get("conditions") or ():
        try:
            previous.append(kube.Condition.model_validate(item))
        except pydantic.ValidationError:
            continue
    return conditions.ConditionSet(previous, types, generation=meta.generation, now=now), top


def _with_conditions(
    raw: Mapping[str, Any],
    meta: kube.ObjectMeta,
    stated: conditions.ConditionSet,
    *,
    requeue_after: float | None = None,
) -> outcomes.Outcome:
    """Return an outcome that replaces the conditions and keeps the rest of the status unread."""
    kept = dict(raw.get("status") or {})
    # The end of an older spec must not become that of the current one.
    generation = (
        kept.get("observedGeneration", 0) if kept.get("completionTime") else meta.generation
    )
    items = [condition.wire() for condition in stated.build()]
    return outcomes.Outcome(
        status={**kept, "observedGeneration": generation, "conditions": items},
        events=stated.events(CONDITION_TYPES[raw["kind"]][1]),
        requeue_after=requeue_after,
    )
