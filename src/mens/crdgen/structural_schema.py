"""JSON schema as pydantic writes it → structural schema as the API server takes it.

Every construct without a counterpart is an error here, at build time, never a schema that
accepts less or more than the model.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from mens.crdgen import json_schema

Schema = dict[str, Any]

VALIDATIONS = "x-kubernetes-validations"
IMMUTABLE = "x-mens-immutable"
INT_OR_STRING = "x-kubernetes-int-or-string"
PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT32_MAX = 2**31 - 1

_KEPT = (
    "type", "format", "description", "default", "enum", "pattern", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems",
    "maxItems", "minProperties", "maxProperties", "required", "properties", "items",
    "additionalProperties", "anyOf", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    INT_OR_STRING, PRESERVE, VALIDATIONS,
)  # fmt: skip
_DROPPED = ("title", "$defs", json_schema.VALUES, IMMUTABLE, "uniqueItems", "const")


class NotStructuralError(Exception):
    """A model uses a construct that a CRD cannot express; the message says where."""


def structural(collected: Mapping[str, Any], *, defaults: bool = True) -> Schema:
    """Rewrite a whole schema; without `defaults`, as for a status, none are written."""
    return _Rewriter(collected.get("$defs", {}), defaults).rewrite(dict(collected), _ROOT)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where in the schema a node is: its path for errors, the models it is inside of."""

    path: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def down(self, step: str) -> _Place:
        return dataclasses.replace(self, path=(*self.path, step))

    def within(self, model: str) -> _Place:
        if model in self.models:
            raise self.error(f"{model} contains itself")
        return dataclasses.replace(self, models=(*self.models, model))

    def error(self, text: str) -> NotStructuralError:
        return NotStructuralError(f"/{'/'.join(self.path)}: {text}")


_ROOT = _Place()


class _Rewriter:
    def __init__(self, definitions: Mapping[str, Schema], defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def rewrite(self, node: Schema, place: _Place) -> Schema:
        """Return the structural schema of one node."""
        node, place = self._inlined(node, place)
        _translate(node, place)
        unknown = set(node) - set(_KEPT) - set(_DROPPED)
        if unknown:
            raise place.error(f"no CRD counterpart for {', '.join(sorted(unknown))}")
        out = {key: node[key] for key in _KEPT if key in node}
        if "properties" in out:
            out |= self._properties(out, place)
        if "items" in out:
            out["items"] = self.rewrite(out["items"], place.down("[]"))
        if "additionalProperties" in out:
            out["additionalProperties"] = self.rewrite(
                out["additionalProperties"], place.down("{}")
            )
        return self._with_default(out, place)

    def _inlined(self, node: Schema, place: _Place) -> tuple[Schema, _Place]:
        """Resolve `$ref` and Optional; what stands beside them wins over what they name."""
        node = dict(node)
        if "anyOf" in node and INT_OR_STRING not in node:
            members = [member for member in node.pop("anyOf") if member != {"type": "null"}]
            if len(members) != 1:
                raise place.error("a union; use optional members and kube.one_of")
            return self._inlined(_merged(members[0], node), place)
        if "$ref" in node:
            name = node.pop("$ref").rpartition("/")[2]
            return self._inlined(_merged(self._definitions[name], node), place.within(name))
        return node, place

    def _properties(self, out: Schema, place: _Place) -> Schema:
        said: list[dict[str, str]] = list(out.get(VALIDATIONS, []))
        properties: Schema = {}
        for name, child in out["properties"].items():
            done = self.rewrite(child, place.down(name))
            message = _immutability(child)
            if message is not None:
                rule = {"rule": "self == oldSelf", "message": message}
                done[VALIDATIONS] = [*done.get(VALIDATIONS, []), rule]
                if name not in out.get("required", []) and "default" not in done:
                    comes_or_goes = f"has(self.{name}) == has(oldSelf.{name})"
                    said.append({"rule": comes_or_goes, "message": f"{name}: {message}"})
            properties[name] = done
        return {"properties": properties} | ({VALIDATIONS: said} if said else {})

    def _with_default(self, out: Schema, place: _Place) -> Schema:
        default = out.pop("default", None)
        if not self._defaults or default is None or default == []:
            return out
        if out.get("type") == "object" and not isinstance(default, dict):
            raise place.error(f"default {default!r} is not an object")
        if "properties" in out:
            # The API server checks rules against a default as it is written, before it fills in
            # the fields' own defaults; only where there are no rules may they be left out.
            if _has_rules(out):
                return out | {"default": _without_absent(default)}
            return out | {"default": without_own_defaults(default, out)}
        return out if default == {} else out | {"default": default}


def _translate(node: Schema, place: _Place) -> None:
    if "const" in node:
        node["enum"] = [node["const"]]
    for bound, side in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in node and not isinstance(node[bound], bool):
            node[side], node[bound] = node[bound], True
    if node.get("uniqueItems"):
        node["x-kubernetes-list-type"] = "set"
    if node.get("type") == "array":
        node.setdefault("x-kubernetes-list-type", "atomic")
    if node.get("type") == "integer":
        low, high = node.get("minimum", -(2**63)), node.get("maximum", 2**63)
        small = low >= -INT32_MAX - 1 and high <= INT32_MAX
        node["format"] = "int32" if small else "int64"
    if node.get(INT_OR_STRING):
        node["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    _translate_additional(node, place)
    _describe(node)


def _merged(below: Schema, above: Schema) -> Schema:
    """Lay one schema over another; their rules add up, the lower one's first."""
    said = [*below.get(VALIDATIONS, []), *above.get(VALIDATIONS, [])]
    return below | above | ({VALIDATIONS: said} if said else {})


def _immutability(child: Schema) -> str | None:
    """Find the mark of kube.immutable, which pydantic puts beside or inside an Optional."""
    for candidate in (child, *child.get("anyOf", [])):
        if IMMUTABLE in candidate:
            return str(candidate[IMMUTABLE])
    return None


def _translate_additional(node: Schema, place: _Place) -> None:
    additional = node.get("additionalProperties")
    if additional is False or node.get(PRESERVE):
        node.pop("additionalProperties", None)
    elif additional is True or additional == {}:
        raise place.error("free content needs kube.preserve_unknown()")


def _describe(node: Schema) -> None:
    """Unwrap the docstring's lines, and say below it what each value of an enumeration means."""
    paragraphs = re.split(r"\n\s*\n", node.get("description", "").strip())
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    values = node.get(json_schema.VALUES) or []
    if values:
        lines = [f"{value}: {' '.join(doc.split())}" for value, doc in values]
        text = "\n".join([text, *lines]).strip()
    if text:
        node["description"] = text


def _has_rules(schema: Schema) -> bool:
    below = schema.get("properties", {}).values()
    return VALIDATIONS in schema or any(_has_rules(child) for child in below)


def _without_absent(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {key: _without_absent(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item is not None and item != []}


def without_own_defaults(value: Schema, schema: Schema) -> Schema:
    """Drop from a default object what the API server fills in from the fields' own defaults."""
    kept: Schema = {}
    for key, item in value.items():
        child = schema["properties"][key]
        if item is None or item == []:
            continue
        if isinstance(item, dict) and "properties" in child:
            item = without_own_defaults(item, child)  # noqa: PLW2901  # the reduced item
        if "default" in child and child["default"] == item:
            continue
        kept[key] = item
    return kept
