"""Types of fields that Kubernetes and the platform share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema

from mens.api.kube.markers import fail, list_map, rules
from mens.api.kube.models import Model, Rule

Name: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
"""A DNS label: names of items inside a resource."""

ObjectName: TypeAlias = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""A DNS subdomain: names of other Kubernetes objects."""

LabeledName: TypeAlias = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""A DNS subdomain that is put into a label, whose values have at most 63 characters."""

LabelValue: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
]
"""The value of a label, as node selectors name it."""

ExtendedResource: TypeAlias = Annotated[
    str,
    Field(
        min_length=3,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    ),
]
"""A resource that a device plugin offers: `domain/name`, as `nvidia.com/gpu`."""

Text: TypeAlias = Annotated[str, Field(max_length=4096)]
"""Free text for people."""

ShortText: TypeAlias = Annotated[str, Field(max_length=256)]
"""An identifier or a short remark whose form is not ours."""

Digest: TypeAlias = Annotated[
    str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")
]
"""A SHA-256 in the form `sha256:<64 hex digits>`."""

_NO_ADDRESS = "^s3://[^/]*[.][.]|/[.][.]?(/|$)|[^/]{256}"
"""What S3Uri's pattern cannot exclude without lookahead, and `mens.artifacts.names` refuses."""

S3Uri: TypeAlias = Annotated[
    str,
    Field(
        min_length=8,
        max_length=1024,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=+@,:~-]+)*/?$",
    ),
    rules(
        Rule(
            cel=f"!self.matches('{_NO_ADDRESS}')",
            message=(
                "No part of the key may be '.' or '..' or have more than 255 characters, "
                "and the bucket's name must not contain '..'."
            ),
            holds=lambda uri: not re.search(_NO_ADDRESS, uri),
        )
    ),
]
"""An object, a folder or a bucket: `s3://bucket/key`; bucket names have at least 3 characters."""

DecimalString: TypeAlias = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32,
        pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$",
    ),
]
"""A decimal number as text, as `0.05` or `2e-4`: floats do not survive every JSON reader."""

Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A number of things: exact in every JSON reader."""

Seconds: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A duration in whole seconds."""


def _quantity_text(value: Any, info: ValidationInfo) -> Any:
    del info
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if not 0 <= value < 2**53:
        raise fail("Must be between 0 and 2^53 - 1.")
    return str(value)


_QUANTITY_PATTERN = r"^([0-9]+|[0-9]+\.[0-9]+|\.[0-9]+)(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$"

Quantity: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=32, pattern=_QUANTITY_PATTERN),
    BeforeValidator(_quantity_text),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": _QUANTITY_PATTERN,
            "minLength": 1,
            "maxLength": 32,
            "minimum": 0,
            "maximum": 2**53 - 1,
        }
    ),
]
"""A Kubernetes quantity as `2`, `500m` or `24Gi`; a number on the wire becomes its text here."""


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Timestamp: TypeAlias = Annotated[
    datetime,
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64}),
]
"""A moment in UTC, whole seconds on the wire."""


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """An observed condition of a resource, as metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """Type of the condition in CamelCase."""
    status: ConditionStatus
    """Status of the condition: True, False or Unknown."""
    observed_generation: Count = 0
    """Generation of the spec that the condition describes."""
    last_transition_time: Timestamp
    """Time when `status` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """Reason for the status in one CamelCase word. The reference lists all reasons."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """Cause and next step for people."""


Conditions: TypeAlias = Annotated[tuple[Condition, ...], Field(max_length=16), list_map("type")]
"""The conditions of a status, one per type."""


class LocalRef(Model):
    """Reference to an object in the same namespace."""

    name: ObjectName
    """Name of the object."""
