"""Ask pydantic for a model's JSON schema, with what enumerations say about their members."""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
import textwrap
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

VALUES = "x-mens-values"
"""Key under which an enumeration's member docstrings travel to the rewriting."""


class _Generator(GenerateJsonSchema):
    """pydantic's generator, but an enumeration carries its members' docstrings."""

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """Add the members' docstrings to what pydantic says."""
        return super().enum_schema(schema) | {
            VALUES: list(member_docs(schema["cls"]).items())  # pairs: pydantic sorts objects
        }


def collect(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of what a person writes, `$defs` and all."""
    return model.model_json_schema(by_alias=True, schema_generator=_Generator, mode="validation")


def member_docs(cls: type[enum.Enum]) -> dict[str, str]:
    """Return value → docstring for the members that have one below their assignment."""
    body = _class_body(cls)
    docs: dict[str, str] = {}
    for statement, below in itertools.pairwise(body):
        if not (isinstance(statement, ast.Assign) and isinstance(below, ast.Expr)):
            continue
        target = statement.targets[0]
        if isinstance(target, ast.Name) and isinstance(below.value, ast.Constant):
            docs[str(cls[target.id].value)] = inspect.cleandoc(str(below.value.value))
    return docs


def _class_body(cls: type[enum.Enum]) -> list[ast.stmt]:
    parsed = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    if not isinstance(parsed, ast.ClassDef):
        raise TypeError(f"the source of {cls.__qualname__} is not a class")
    return parsed.body
