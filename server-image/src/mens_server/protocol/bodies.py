"""Reading a request body: bounded, typed, and no field is ever ignored silently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import pydantic

from mens_server.protocol import refusals

Seed = Annotated[int, pydantic.Field(ge=-(2**63), le=2**63 - 1)]
"""Seed of a draw: what a generator takes."""


class Body(pydantic.BaseModel):
    """A request body; a field that is not here is refused by name."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    NEUTRAL: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Fields of the protocol that this server does not do, with the values that ask nothing."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read JSON; every refusal names the field."""
        try:
            value = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise refusals.InvalidRequest("The body is no JSON.") from error
        if not isinstance(value, dict):
            raise refusals.InvalidRequest("The body is no JSON object.")
        for name, neutral in cls.NEUTRAL.items():
            if name in value and not any(_same(value[name], one) for one in neutral):
                raise refusals.UnsupportedParameter(
                    f"This server does not support {name!r} with this value; leave it out.",
                    param=name,
                )
            value.pop(name, None)
        # A null is an absent field, as in the clients' own type definitions.
        present = {key: item for key, item in value.items() if item is not None}
        try:
            return cls.model_validate(present)
        except pydantic.ValidationError as error:
            raise _refusal(error) from error


def _refusal(error: pydantic.ValidationError) -> refusals.Refusal:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    param = path.removeprefix(".")[:200]
    if first["type"] == "extra_forbidden":
        return refusals.UnsupportedParameter(
            f"This server does not know {param!r}; leave it out.", param=param
        )
    return refusals.InvalidRequest(f"{param}: {first['msg']}.", param=param)


def _same(value: Any, neutral: Any) -> bool:
    # 1 == True in Python; a flag is not a number here.
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
