"""The conditions of one status: start from the previous ones, change some, stamp them once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from mens.api import kube, reasons
from mens_operator.plans import outcomes

TRUE: Final = kube.ConditionStatus.TRUE
FALSE: Final = kube.ConditionStatus.FALSE
UNKNOWN: Final = kube.ConditionStatus.UNKNOWN

_MESSAGE_LIMIT: Final = 2000
"""Maximum characters of a message; a scheduler with many nodes writes more than anybody reads."""


class ConditionSet:
    """Conditions while a plan works on them."""

    def __init__(
        self,
        previous: Sequence[kube.Condition],
        types: Iterable[str],
        *,
        generation: int,
        now: datetime,
    ) -> None:
        self._previous = {condition.type: condition for condition in previous}
        self._types = tuple(types)
        self._generation = generation
        self._now = now.replace(microsecond=0)
        self._set: dict[str, tuple[kube.ConditionStatus, str, str]] = {}

    def set(self, type_: str, status: kube.ConditionStatus, reason: str, message: str) -> None:
        """Set one condition; a type that this kind does not have is ignored."""
        if type_ in self._types:
            self._set[type_] = (status, reason, message[:_MESSAGE_LIMIT])

    def previous(self, type_: str) -> kube.Condition | None:
        """Return a condition of the previous status."""
        return self._previous.get(type_)

    def was(self, type_: str, status: kube.ConditionStatus) -> bool:
        """Return whether a condition had this status before."""
        previous = self._previous.get(type_)
        return previous is not None and previous.status is status

    def age(self, type_: str, status: kube.ConditionStatus) -> float:
        """Return for how many seconds a condition has had a status; 0 if it had another one."""
        previous = self._previous.get(type_)
        if previous is None or previous.status is not status:
            return 0.0
        return (self._now - previous.last_transition_time).total_seconds()

    def build(self) -> tuple[kube.Condition, ...]:
        """Return all conditions: as set, else as before, else Unknown."""
        return tuple(self._build(type_) for type_ in self._types)

    def events(self, type_: str) -> tuple[outcomes.Event, ...]:
        """Return an event if the reason of a condition has changed and is worth one."""
        if type_ not in self._set:
            return ()
        status, reason, message = self._set[type_]
        previous = self._previous.get(type_)
        if previous is not None and (previous.status, previous.reason) == (status, reason):
            return ()
        if reason in _WITHOUT_EVENT:
            return ()
        return (outcomes.Event(reason not in _NORMAL, reason, message),)

    def _build(self, type_: str) -> kube.Condition:
        previous = self._previous.get(type_)
        default = (UNKNOWN, reasons.PENDING, "Not evaluated yet.")
        kept = (previous.status, previous.reason, previous.message) if previous else default
        status, reason, message = self._set.get(type_, kept)
        unchanged = previous is not None and previous.status is status
        return kube.Condition(
            type=type_,
            status=status,
            observed_generation=self._generation,
            last_transition_time=(
                previous.last_transition_time if previous and unchanged else self._now
            ),
            reason=reason,
            message=message,
        )


_NORMAL: Final = frozenset(
    {reasons.SUCCEEDED, reasons.SERVING, reasons.RUNNING, reasons.SCALED_TO_ZERO}
)
"""Reasons of Normal events; every other event is a Warning."""
_WITHOUT_EVENT: Final = frozenset(
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
"""Reasons that the condition reports well enough: an event for each would only cost writes."""
