"""Kubernetes API conventions as rules over a structural schema, after kube-api-linter.

A finding names the field and says what to do. The generator refuses to write a schema that has
one, so the conventions hold for every field that anybody adds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mens.crdgen import structural_schema

Schema = structural_schema.Schema
Check = Callable[[Schema], Iterator[str]]

_FIELD_NAME = re.compile(r"^[a-z][a-zA-Z0-9]*$")
_VALUE_NAME = re.compile(r"^[A-Z][A-Za-z0-9]*$")
_UNICODE_CLASS = re.compile(r"\\[sSdDwWbB]")
_FORBIDDEN_NAMES = {"phase": "conditions say more than a phase"}
_FORBIDDEN_KEYS = ("$ref", "title", "nullable", "oneOf", "allOf", "not", "const", "prefixItems")
_UNITS = ("Millis", "Milliseconds", "Minutes", "Hours", "Days")
_MAX_RULES = 16


def lint(schema: Schema) -> list[str]:
    """Return every finding in the schema of a whole object, as `path: what is wrong`."""
    properties = schema["properties"]
    found = list(_walk(properties["spec"], "spec", (*_CHECKS, _check_named_items)))
    return found + list(_walk(properties.get("status", {"type": "object"}), "status", _CHECKS))


def _walk(node: Schema, path: str, checks: tuple[Check, ...]) -> Iterator[str]:
    for check in checks:
        for text in check(node):
            yield f"{path}: {text}"
    for name, child in node.get("properties", {}).items():
        yield from (f"{path}.{name}: {text}" for text in _check_property(name, child))
        yield from _walk(child, f"{path}.{name}", checks)
    if "items" in node:
        yield from _walk(node["items"], f"{path}[]", checks)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _walk(node["additionalProperties"], f"{path}{{}}", checks)


def _check_form(node: Schema) -> Iterator[str]:
    for key in _FORBIDDEN_KEYS:
        if key in node:
            yield f"{key} is not structural"
    if "anyOf" in node and not node.get(structural_schema.INT_OR_STRING):
        yield "a union: use optional members and kube.one_of"
    typeless = node.get(structural_schema.INT_OR_STRING) or node.get(structural_schema.PRESERVE)
    if "type" not in node and not typeless:
        yield "has no type"


def _check_numbers(node: Schema) -> Iterator[str]:
    if node.get("type") == "number":
        yield "a float: use kube.DecimalString"
    if node.get("type") == "integer":
        if "minimum" not in node or "maximum" not in node:
            yield "an integer without bounds: give ge and le"
        if node.get("format") not in ("int32", "int64"):
            yield "an integer without format"


def _check_bounds(node: Schema) -> Iterator[str]:
    kind = node.get("type")
    if (kind == "string" or node.get(structural_schema.INT_OR_STRING)) and not (
        "maxLength" in node or "enum" in node
    ):
        yield "a string without bound: give max_length"
    if kind == "array" and "maxItems" not in node:
        yield "a list without bound: give max_length"
    if kind == "object" and "additionalProperties" in node and "maxProperties" not in node:
        yield "a map without bound: give max_length"


def _check_pattern(node: Schema) -> Iterator[str]:
    pattern = node.get("pattern", "")
    if _UNICODE_CLASS.search(pattern):
        yield rf"the pattern {pattern!r} uses \s, \d, \w or \b: ASCII for Go, Unicode for pydantic"
    if pattern and not (pattern.startswith("^") and pattern.endswith("$")):
        yield f"the pattern {pattern!r} is not anchored at both ends"


def _check_lists(node: Schema) -> Iterator[str]:
    if node.get("type") != "array":
        return
    kind, items = node.get("x-kubernetes-list-type"), node["items"]
    if kind is None:
        yield "a list without x-kubernetes-list-type"
    if kind == "set" and items.get("type") in ("object", "array"):
        yield "a set whose items are not scalars"
    for key in node.get("x-kubernetes-list-map-keys", []):
        child = items.get("properties", {}).get(key, {})
        if key not in items.get("required", []) and "default" not in child:
            yield f"list-map key {key} must be required or have a default"


def _check_named_items(node: Schema) -> Iterator[str]:
    """Only for what people author: a status may list one name in several roles."""
    named = "name" in node.get("items", {}).get("required", [])
    if named and node.get("x-kubernetes-list-type") != "map":
        yield "a list of named items: mark it with kube.list_map('name')"


def _check_enums(node: Schema) -> Iterator[str]:
    for value in node.get("enum", []):
        if not (isinstance(value, str) and _VALUE_NAME.match(value)):
            yield f"enum value {value!r} is not CamelCase"


def _check_required(node: Schema) -> Iterator[str]:
    for name in node.get("required", []):
        if "default" in node["properties"][name]:
            yield f"{name} is required and has a default"


def _check_rules(node: Schema) -> Iterator[str]:
    rules = node.get(structural_schema.VALIDATIONS, [])
    if len(rules) > _MAX_RULES:
        yield f"{len(rules)} rules on one field: more than {_MAX_RULES}"
    for rule in rules:
        text, message = rule["rule"], rule.get("message", "")
        if "self" not in text or "\n" in text:
            yield f"the rule {text!r} must be one line about self"
        if not message.endswith((".", "?")):
            yield f"the message of {text!r} must be a whole sentence"
        optional = set(node.get("properties", {})) - set(node.get("required", []))
        for name in sorted(optional):
            has_default = "default" in node["properties"][name]
            if _uses(text, name) and not has_default and f"has(self.{name})" not in text:
                yield f"the rule {text!r} uses {name} without asking has(self.{name})"


def _uses(rule: str, name: str) -> bool:
    return re.search(rf"\bself\.{name}\b", rule) is not None


def _check_property(name: str, node: Schema) -> Iterator[str]:
    description = node.get("description", "")
    if not description:
        yield "has no description: write a docstring below the field"
    elif not description.split("\n", 1)[0].rstrip().endswith((".", ":", "?")):
        yield "its description is not a whole sentence"
    if not _FIELD_NAME.match(name):
        yield "its name is not camelCase"
    if name in _FORBIDDEN_NAMES:
        yield _FORBIDDEN_NAMES[name]
    if name.endswith(_UNITS):
        yield "durations are whole seconds: end the name with Seconds"
    if name.endswith("Ref") and "name" not in node.get("properties", {}):
        yield "a reference must have a name"
    if name.endswith("Timestamp") or (node.get("format") == "date-time" and name[-4:] != "Time"):
        yield "moments end with Time"


_CHECKS: tuple[Check, ...] = (
    _check_form,
    _check_numbers,
    _check_bounds,
    _check_pattern,
    _check_lists,
    _check_enums,
    _check_required,
    _check_rules,
)
