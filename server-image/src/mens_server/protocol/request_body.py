"""Reading a request body: bounded, typed, and no field is ever ignored silently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

import pydantic
import pydantic_core

from mens_server.protocol import errors

Seed = Annotated[int, pydantic.Field(ge=-(2**63), le=2**63 - 1)]
"""Seed of a draw: what a generator takes."""

_UNSUPPORTED: Final = "unsupported"


class Body(pydantic.BaseModel):
    """A request body or an object in one; a field that is not here is refused by name."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    NEUTRAL: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Fields of the protocol that this server does not do, with the values that ask nothing."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read JSON; every refusal names the field."""
        try:
            value = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise errors.InvalidRequest("The body is not JSON.") from error
        if not isinstance(value, dict):
            raise errors.InvalidRequest("The body is not a JSON object.")
        try:
            return cls.model_validate(value)
        except pydantic.ValidationError as error:
            raise _refusal(error) from error

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, value: Any) -> Any:
        """Leave out what asks nothing: clients send back what they got, with every field in it."""
        if not isinstance(value, dict):
            return value
        # A null is an absent field, as in the clients' own type definitions.
        present = {key: item for key, item in value.items() if item is not None}
        for name in cls.NEUTRAL.keys() & present.keys():
            if not any(_same(present.pop(name), one) for one in cls.NEUTRAL[name]):
                raise unsupported(name, "with this value")
        return present


def unsupported(field: str, why: str) -> pydantic_core.PydanticCustomError:
    """What a validator raises about a field that asks for something this server does not do."""
    return pydantic_core.PydanticCustomError(_UNSUPPORTED, "{why}", {"field": field, "why": why})


def _refusal(error: pydantic.ValidationError) -> errors.Rejection:
    first = error.errors(include_url=False, include_input=False)[0]
    context = first.get("ctx", {})
    place = (*first["loc"], context["field"]) if first["type"] == _UNSUPPORTED else first["loc"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    param = path.removeprefix(".")[:200]
    if first["type"] == _UNSUPPORTED:
        return errors.UnsupportedParameter(
            f"This server does not support {param!r} {context['why']}; leave it out.", param=param
        )
    if first["type"] == "extra_forbidden":
        return errors.UnsupportedParameter(
            f"This server does not know {param!r}; leave it out.", param=param
        )
    return errors.InvalidRequest(f"{param}: {first['msg']}.", param=param)


def _same(value: Any, neutral: Any) -> bool:
    # 1 == True in Python; a flag is not a number here.
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
