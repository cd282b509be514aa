"""Kubernetes' view of a field: what a CRD can say and pydantic has no word for.

Everything here works on both sides at once: a marker adds the `x-kubernetes-*` keys that the API
server enforces and the check that pydantic runs, so that one declaration cannot drift into two.
The law, tested against a real API server: `parse(model, data)` accepts exactly what it accepts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

GROUP = "mens.vox-lang.org"
"""API group of every resource of the platform."""

VERSION = "v1alpha1"
"""The one served and stored version."""

API_VERSION = f"{GROUP}/{VERSION}"
"""What a user writes behind `apiVersion:`."""

JsonSchema: TypeAlias = dict[str, Any]
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Rule:
    """A fact about a whole object, in CEL for the API server and in Python for everyone else.

    `holds` gets the model instance. A field that was left out is `None` there and
    `!has(self.field)` in CEL; empty tuples are left out too, so CEL must ask `has` first.
    """

    cel: str
    message: str
    """A whole sentence: what is wrong and what to write instead."""
    holds: Callable[[Any], bool] | None = None
    """None only for transition rules (`oldSelf`), which a single object cannot break."""
    path: str | None = None
    """JSON path of the field to blame, as `.method`; None blames the object."""

    def schema(self) -> JsonSchema:
        """Return the entry of x-kubernetes-validations."""
        entry = {"rule": self.cel, "message": self.message}
        return entry | ({"fieldPath": self.path} if self.path else {})


class Model(BaseModel):
    """A part of a resource: frozen, camelCase on the wire, described by its docstrings.

    Unknown fields are ignored, since an old operator must survive a newer CRD; what people
    author is read by `parse`, which refuses them.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    """Cross-field rules; a subclass that sets this replaces its parent's."""

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in type(self).RULES:
            if rule.holds is not None and not rule.holds(self):
                raise PydanticCustomError("rule", "{message}", {"message": rule.message})
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        """Add the rules to the schema of the class."""
        referring = handler(schema)
        if cls.RULES:
            target = handler.resolve_ref_schema(referring)
            target["x-kubernetes-validations"] = [rule.schema() for rule in cls.RULES]
        return referring

    def wire(self) -> dict[str, Any]:
        """Return the JSON object as the API server stores it: no nulls, no empty lists."""
        dumped: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        pruned = _without_empty(dumped)
        return pruned if isinstance(pruned, dict) else {}


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item != []}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value


def parse(model: type[ModelT], data: Mapping[str, Any]) -> ModelT:
    """Read what a person authored, as strictly as the API server with strict field validation.

    Unknown fields are refused, nothing is coerced, and a null is an absent field.
    """
    text = json.dumps(_without_nulls(data))
    return model.model_validate_json(
        text, strict=True, extra="forbid", by_alias=True, by_name=False
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


# Markers: put them into Annotated[...]. ------------------------------------------------------


@dataclass(frozen=True)
class Marker:
    """Schema keys for the API server and, where one object can break them, a check for pydantic."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    check: Callable[[Any], Any] | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Run the check after the type's own validation."""
        inner = handler(source)
        if self.check is None:
            return inner
        return core_schema.no_info_after_validator_function(self._checked, inner)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        """Add the keys beside whatever the type says (also beside a $ref)."""
        out: JsonSchema = dict(handler(schema))
        out.update(self.keys)
        if self.rules:
            said = list(out.get("x-kubernetes-validations", []))
            out["x-kubernetes-validations"] = said + [rule.schema() for rule in self.rules]
        return out

    def _checked(self, value: Any) -> Any:
        if value is not None and self.check is not None:
            self.check(value)
        return value


def _fail(message: str) -> PydanticCustomError:
    return PydanticCustomError("kubernetes", "{message}", {"message": message})


def _require_unique(keys: Sequence[Hashable], what: str) -> None:
    if len(set(keys)) != len(keys):
        raise _fail(f"Each {what} may appear once only.")


def list_map(*keys: str) -> Marker:
    """A list whose items are told apart by these wire names (merged item by item on apply)."""

    def check(items: Sequence[BaseModel]) -> None:
        dumped = [item.model_dump(mode="json", by_alias=True, include=None) for item in items]
        _require_unique([tuple(item.get(key) for key in keys) for item in dumped], "/".join(keys))

    return Marker(
        {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}, check=check
    )


def set_list() -> Marker:
    """A list of scalars without duplicates, order without meaning."""
    return Marker(
        {"x-kubernetes-list-type": "set"}, check=lambda items: _require_unique(items, "item")
    )


def atomic_list() -> Marker:
    """A list replaced as a whole on apply: the default of the generator, said aloud."""
    return Marker({"x-kubernetes-list-type": "atomic"})


def immutable(message: str = "The field cannot be changed; make a new resource.") -> Marker:
    """A value that never changes after creation.

    For an optional field the generator adds the parent's rule that it may not come or go either.
    """
    return Marker({"x-mens-immutable": message})


def preserve_unknown() -> Marker:
    """An object whose inner fields the API server keeps unseen: for `dict[str, Any]`."""
    return Marker({"x-kubernetes-preserve-unknown-fields": True})


def rules(*said: Rule) -> Marker:
    """Rules about one field: `self` is the field's value, in CEL and in `holds`."""

    def check(value: Any) -> None:
        for rule in said:
            if rule.holds is not None and not rule.holds(value):
                raise _fail(rule.message)

    return Marker(rules=said, check=check)


def decimal_range(minimum: str, maximum: str) -> Marker:
    """Inclusive bounds of a DecimalString, compared as IEEE doubles on both sides."""
    low, high = float(minimum), float(maximum)
    return rules(
        Rule(
            cel=f"double(self) >= {low!r} && double(self) <= {high!r}",
            message=f"Must be a decimal between {minimum} and {maximum}.",
            holds=lambda text: low <= float(text) <= high,
        )
    )


# Ready-made rules for RULES. -----------------------------------------------------------------


def _count(names: Sequence[str]) -> str:
    return " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)


def has(model: BaseModel, name: str) -> bool:
    """Tell what CEL's `has(self.name)` tells: an explicit empty list is there, a default one not."""
    by_wire = {info.alias or field: field for field, info in type(model).model_fields.items()}
    value = getattr(model, by_wire[name])
    return value is not None and (value not in ((), {}) or by_wire[name] in model.model_fields_set)


def _given(model: Any, names: Sequence[str]) -> int:
    return sum(has(model, name) for name in names)


def one_of(*names: str) -> Rule:
    """Exactly one of these optional fields (wire names) is given: a union without a union."""
    return Rule(
        cel=f"{_count(names)} == 1",
        message=f"Give exactly one of: {', '.join(names)}.",
        holds=lambda model: _given(model, names) == 1,
    )


def at_most_one_of(*names: str) -> Rule:
    """At most one of these optional fields (wire names) is given."""
    return Rule(
        cel=f"{_count(names)} <= 1",
        message=f"Give at most one of: {', '.join(names)}.",
        holds=lambda model: _given(model, names) <= 1,
    )


def at_least_one_of(*names: str) -> Rule:
    """At least one of these optional fields (wire names) is given."""
    return Rule(
        cel=f"{_count(names)} >= 1",
        message=f"Give at least one of: {', '.join(names)}.",
        holds=lambda model: _given(model, names) >= 1,
    )


# Types. --------------------------------------------------------------------------------------

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

Text: TypeAlias = Annotated[str, Field(max_length=4096)]
"""Free text for people."""

ShortText: TypeAlias = Annotated[str, Field(max_length=256)]
"""An identifier or a short remark whose form is not ours."""

Digest: TypeAlias = Annotated[
    str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")
]
"""A SHA-256 in the form `sha256:<64 hex digits>`."""

S3Uri: TypeAlias = Annotated[
    str,
    Field(
        min_length=8,
        max_length=1024,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=+@,:~-]+)*/?$",
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
        raise _fail("Must be between 0 and 2^53 - 1.")
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
    """One observed fact about a resource, as metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """What is observed, in CamelCase."""
    status: ConditionStatus
    """Whether it holds; Unknown while it is being found out."""
    observed_generation: Count = 0
    """metadata.generation of the spec that was looked at."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """The cause in one CamelCase word; the reference lists them all."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """The cause for people, and the next thing to do."""


Conditions: TypeAlias = Annotated[tuple[Condition, ...], Field(max_length=16), list_map("type")]
"""The conditions of a status, one per type."""


class LocalRef(Model):
    """Another object of the same namespace."""

    name: ObjectName
    """metadata.name of the object."""


# Resources. ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Names:
    """How a resource is called in URLs, in YAML and by people in a hurry."""

    kind: str
    plural: str
    singular: str
    short: str


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    path: str
    """JSON path from the object, as `.status.progress.step`."""
    description: str
    type: str = "string"
    """string, integer, number, boolean or date."""
    priority: int = 0


def condition_column(name: str, condition: str, key: str = "status", priority: int = 0) -> Column:
    """Return the column that shows one key of one condition."""
    path = f'.status.conditions[?(@.type=="{condition}")].{key}'
    return Column(name, path, f"The {key} of condition {condition}.", priority=priority)


AGE = Column("Age", ".metadata.creationTimestamp", "Time since creation.", type="date")
"""The column every resource ends with."""


@dataclass(frozen=True)
class Scale:
    """Where the scale subresource finds its numbers."""

    spec_path: str
    status_path: str
    selector_path: str


class ObjectMeta(Model):
    """The part of metadata that the platform reads."""

    name: Annotated[str, Field(max_length=253)]
    """The name within its namespace and kind."""
    namespace: Annotated[str, Field(max_length=63)] = "default"
    """The namespace."""
    uid: Annotated[str, Field(max_length=64)] = ""
    """Identity of this very object; a namesake made later has another."""
    generation: Count = 0
    """Counts changes of the spec."""
    resource_version: Annotated[str, Field(max_length=64)] = ""
    """Opaque version of the stored object."""
    creation_timestamp: Timestamp | None = None
    """When the object was created."""
    deletion_timestamp: Timestamp | None = None
    """When deletion was asked for; None for a living object."""
    labels: dict[str, str] = {}
    """Labels."""
    annotations: dict[str, str] = {}
    """Annotations."""


class Resource(Model):
    """Base of the resources; a subclass adds `spec` and `status`."""

    NAMES: ClassVar[Names]
    COLUMNS: ClassVar[tuple[Column, ...]] = (AGE,)
    SCALE: ClassVar[Scale | None] = None

    api_version: Annotated[str, Field(max_length=64)] = API_VERSION
    """`mens.vox-lang.org/v1alpha1`."""
    kind: Annotated[str, Field(max_length=64)]
    """The kind."""
    metadata: ObjectMeta
    """Name, namespace and identity."""
