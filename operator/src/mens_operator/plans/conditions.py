"""Conditions: drafted from what was, changed where something is known, stamped once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from mens.api import kube, reasons
from mens_operator.plans import outcomes

TRUE = kube.ConditionStatus.TRUE
FALSE = kube.ConditionStatus.FALSE
UNKNOWN = kube.ConditionStatus.UNKNOWN

_LONGEST = 2000
"""Characters of a message; a scheduler with many nodes writes more than anybody reads."""


class Draft:
    """The conditions of one status while a plan works on them."""

    def __init__(
        self,
        before: Sequence[kube.Condition],
        types: Iterable[str],
        *,
        generation: int,
        now: datetime,
    ) -> None:
        self._before = {condition.type: condition for condition in before}
        self._types = tuple(types)
        self._generation = generation
        self._now = now.replace(microsecond=0)
        self._set: dict[str, tuple[kube.ConditionStatus, str, str]] = {}

    def set(self, type_: str, status: kube.ConditionStatus, reason: str, message: str) -> None:
        """State one condition; a type that this kind does not have is left out."""
        if type_ in self._types:
            self._set[type_] = (status, reason, message[:_LONGEST])

    def before(self, type_: str) -> kube.Condition | None:
        """Return a condition as it was."""
        return self._before.get(type_)

    def was(self, type_: str, status: kube.ConditionStatus) -> bool:
        """Whether a condition had this status."""
        old = self._before.get(type_)
        return old is not None and old.status is status

    def age(self, type_: str, status: kube.ConditionStatus) -> float:
        """Return for how many seconds a condition has had a status; 0 if it had another."""
        old = self._before.get(type_)
        if old is None or old.status is not status:
            return 0.0
        return (self._now - old.last_transition_time).total_seconds()

    def done(self) -> tuple[kube.Condition, ...]:
        """Return all conditions; what nobody spoke of stays, what never was is Unknown."""
        return tuple(self._one(type_) for type_ in self._types)

    def notes(self, top: str) -> tuple[outcomes.Note, ...]:
        """Return an event if the top condition has a new reason that people want to hear of."""
        if top not in self._set:
            return ()
        status, reason, message = self._set[top]
        old = self._before.get(top)
        if old is not None and (old.status, old.reason) == (status, reason):
            return ()
        if reason in _QUIET:
            return ()
        return (outcomes.Note(reason not in _GOOD, reason, message),)

    def _one(self, type_: str) -> kube.Condition:
        old = self._before.get(type_)
        fallback = (UNKNOWN, reasons.PENDING, "Not looked at yet.")
        kept = (old.status, old.reason, old.message) if old else fallback
        status, reason, message = self._set.get(type_, kept)
        since = old.last_transition_time if old and old.status is status else self._now
        return kube.Condition(
            type=type_,
            status=status,
            observed_generation=self._generation,
            last_transition_time=since,
            reason=reason,
            message=message,
        )


_GOOD = frozenset({reasons.SUCCEEDED, reasons.SERVING, reasons.RUNNING, reasons.SCALED_TO_ZERO})
"""Reasons of normal events."""
_QUIET = frozenset(
    {
        reasons.PENDING,
        reasons.QUEUED,
        reasons.VERIFYING,
        reasons.PROGRESSING,
        reasons.POD_ENDING,
        reasons.SUSPENDED,
        reasons.DISABLED,
        reasons.CORPUS_NOT_READY,
        reasons.TRAIN_RUN_NOT_READY,
    }
)
"""Reasons that a condition tells well enough: an event each would only cost writes."""
