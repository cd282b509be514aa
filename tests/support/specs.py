"""Specs made from the schema of a definition: mostly valid, some with one thing wrong."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
Path = tuple[str | int, ...]

_TEXT = st.characters(codec="utf-8", exclude_characters="\x00")


def valid_by_schema(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that keep the schema's bounds; rules over several fields may still be broken."""
    return _made(json.dumps(schema))


@functools.cache
def _made(text: str) -> st.SearchStrategy[Any]:
    # Made once per schema: making and validating strategies again in each example took nine tenths
    # of the time.
    schema: Schema = json.loads(text)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.one_of(st.integers(0, 64), st.sampled_from(["1", "500m", "24Gi", "1.5", "2k"]))
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return st.dictionaries(st.text("abc", max_size=3), st.integers(0, 9), max_size=2)
    makers = {"object": _objects, "array": _lists, "string": _strings, "integer": _integers}
    return st.booleans() if schema["type"] == "boolean" else makers[schema["type"]](schema)


def _integers(schema: Schema) -> st.SearchStrategy[int]:
    low = schema["minimum"] + (1 if schema.get("exclusiveMinimum") else 0)
    high = schema["maximum"] - (1 if schema.get("exclusiveMaximum") else 0)
    return st.one_of(st.integers(low, high), st.sampled_from([low, high]))


_POOL = [
    "a", "a-b", "a.b-c", "0", "1", "0.5", "0.25", "-0.25", "2e-4", "1e-9", "100", "1E2", "999.9",
    "s3://abc", "s3://abc/", "s3://mens/models/Qwen_3.5", "https://git.example/vox.git", "file:///x",
    "sha256:" + "0a" * 32, "1Gi", "500m",
    "nvidia.com/gpu",
]  # fmt: skip
"""Texts that keep one pattern or another: drawing them is a hundred times cheaper than a regex."""


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    low, high = schema.get("minLength", 0), schema["maxLength"]
    if "pattern" not in schema:
        return st.text(_TEXT, min_size=low, max_size=min(high, 12))
    pattern = re.compile(schema["pattern"])
    drawn = st.from_regex(pattern, alphabet=st.characters(codec="ascii")).map(str.rstrip)
    kept = [text for text in _POOL if pattern.fullmatch(text) and low <= len(text) <= high]
    bounds = re.search(r"between (\S+) and (\S+)\.$", str(_messages(schema)[-1:])[2:-2])
    if bounds:
        least, most = float(bounds[1]), float(bounds[2])
        kept = [text for text in kept if least <= float(text) <= most]
    fitting = drawn.filter(lambda text: low <= len(text) <= high)
    return st.one_of(*[st.sampled_from(kept)] * 9, fitting)


def _messages(schema: Schema) -> list[str]:
    return [rule["message"] for rule in schema.get("x-kubernetes-validations", [])]


def _lists(schema: Schema) -> st.SearchStrategy[list[Any]]:
    unique = None
    if schema["x-kubernetes-list-type"] == "map":
        keys = schema["x-kubernetes-list-map-keys"]
        unique = lambda item: tuple(item.get(key) for key in keys)  # noqa: E731
    elif schema["x-kubernetes-list-type"] == "set":
        unique = lambda item: item  # noqa: E731
    low = schema.get("minItems", 0)
    high = max(low, min(schema["maxItems"], 3))
    return st.lists(valid_by_schema(schema["items"]), min_size=low, max_size=high, unique_by=unique)


def _objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    if "additionalProperties" in schema:
        values = valid_by_schema(schema["additionalProperties"])
        return st.dictionaries(st.text("abc", max_size=3), values, max_size=schema["maxProperties"])
    properties, needed = schema.get("properties", {}), schema.get("required", [])
    there = {name: valid_by_schema(properties[name]) for name in needed}
    optional = {
        name: valid_by_schema(properties[name]) for name in properties if name not in needed
    }
    return st.fixed_dictionaries(there, optional=optional).flatmap(
        lambda value: _choosing(schema, value)
    )


@st.composite
def _choosing(draw: st.DrawFn, schema: Schema, value: dict[str, Any]) -> dict[str, Any]:
    """Mostly repair a broken `Give exactly one of`, else nearly nothing would be valid."""
    if draw(st.integers(0, 7)) == 0:
        return value
    repaired = dict(value)
    for message in _messages(schema):
        head, _, rest = message.rstrip(".").partition(": ")
        names = rest.split(", ")
        chosen = [name for name in names if name in repaired]
        if head in ("Give exactly one of", "Give at most one of"):
            for name in chosen[1:]:
                del repaired[name]
        if head in ("Give exactly one of", "Give at least one of") and not chosen:
            name = draw(st.sampled_from(names))
            repaired[name] = draw(valid_by_schema(schema["properties"][name]))
    return repaired


_WRONG: list[Any] = [
    None, "", "x" * 5000, "A_b", "-", "1e99", "sha256:00", "s3://ab", -1, 2**31, 2**53, 2**63, 1.5,
    2.0, True, [], {}, [None], {"unknown": 1}, "Red\n", "ä", " ", "0.5", "NaN", "00", "5",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, schema: Schema) -> Any:
    """A spec from the schema, with no, one or two things changed for the worse, or not at all."""
    value = draw(valid_by_schema(schema))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 1, 2]))):
        places = list(_places(value))
        if places:
            _change(draw, value, draw(st.sampled_from(places)))
    return value


def _change(draw: st.DrawFn, value: Any, path: Path) -> None:
    *above, last = path
    holder = value
    for step in above:
        holder = holder[step]
    kind = draw(st.sampled_from(["replace", "replace", "drop", "add", "repeat"]))
    if kind == "drop":
        del holder[last]
    elif kind == "add" and isinstance(holder, dict):
        holder[draw(st.sampled_from(["unknown", "Name", "snake_case", "max_steps"]))] = 1
    elif kind == "repeat" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[int(last)]))
    else:
        holder[last] = copy.deepcopy(draw(st.sampled_from(_WRONG)))


def _places(value: Any, path: Path = ()) -> Iterator[Path]:
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, item in entries:
        yield (*path, key)
        yield from _places(item, (*path, key))
