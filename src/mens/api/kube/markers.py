"""Markers for `Annotated[...]`: schema keys for the API server, the same check for pydantic."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mens.api.kube.models import JsonSchema, Rule


@dataclass(frozen=True, eq=False)  # hashed by identity: typing hashes what stands in a union
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


def fail(message: str) -> PydanticCustomError:
    """Return the error that pydantic reports with this message."""
    return PydanticCustomError("kubernetes", "{message}", {"message": message})


def _require_unique(keys: Sequence[Hashable], what: str) -> None:
    if len(set(keys)) != len(keys):
        raise fail(f"Each {what} may appear once only.")


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
    """A list replaced as a whole on apply: the generator's default, made explicit."""
    return Marker({"x-kubernetes-list-type": "atomic"})


def immutable(message: str = "The field is immutable; create a new resource.") -> Marker:
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
                raise fail(rule.message)

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
