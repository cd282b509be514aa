"""The base of every part of a resource: its rules, and how it is read and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError

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

    Unknown fields are refused and nothing is coerced, but a null is an absent field (within a
    preserved object too, where the server would keep it) and 2.0 is the integer 2.
    """
    text = json.dumps(_as_stored(data))
    return model.model_validate_json(
        text, strict=True, extra="forbid", by_alias=True, by_name=False
    )


def _as_stored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_stored(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_as_stored(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _count(names: Sequence[str]) -> str:
    return " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)


def has(model: BaseModel, name: str) -> bool:
    """Answer as CEL does for `has(self.name)`: an explicit empty list counts, a default one not."""
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
