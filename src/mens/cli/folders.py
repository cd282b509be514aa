"""What a Hugging Face model folder says about itself; nothing in it is executed or unpickled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from mens.artifacts import names, publisher
from mens.cli import output

HEADER_LIMIT: Final = 100 * 1024 * 1024
"""Bytes of a safetensors header that the format's own reader accepts at most."""
INDEX: Final = "model.safetensors.index.json"
"""Names the shards of a model that has several."""

_FRONT_MATTER: Final = re.compile(r"\A\s*---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_LICENSE: Final = re.compile(
    r"""^["']?license["']?[ \t]*:(?P<value>.*(?:\n(?:[ \t#-].*)?)*)""", re.MULTILINE
)
"""The value with all lines that belong to it: indented ones, list items, comments, empty ones."""
_SILENT: Final = frozenset({"other", "unknown", "null", "~"})
"""Values that declare nothing: then the license's text alone decides."""


def model_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files to publish, by name.

    Links to files are followed, since Hugging Face's cache is made of them; hidden files and
    folders (`.git`, `.cache`) are left out.
    """
    if not (folder / "config.json").is_file():
        raise output.wrong(f"{folder} has no config.json: it is not a Hugging Face model folder")
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or not path.is_file():
            continue
        names.refuse_pickle(name)
        found.append((publisher.checked(name), path))
    weights = {name for name, _ in found if name.endswith(".safetensors")}
    if not weights:
        raise output.wrong(f"{folder} has no *.safetensors file; convert the weights first")
    if missing := sorted(_shards(folder) - weights):
        raise output.wrong(f"{folder} lacks {missing[0]}, which {INDEX} names; download it again")
    yield from found


def details(folder: Path) -> dict[str, JsonValue]:
    """Architecture, number of parameters and type of the weights."""
    config = _json(folder / "config.json")
    architectures = config.get("architectures") or ["unknown"]
    parameters, by_dtype = 0, dict[str, int]()
    for path in sorted(folder.glob("*.safetensors")):
        for tensor in safetensors_header(path).values():
            count = _product(tensor["shape"])
            parameters += count
            by_dtype[tensor["dtype"]] = by_dtype.get(tensor["dtype"], 0) + count
    dtype = max(sorted(by_dtype), key=by_dtype.__getitem__, default="unknown")
    return {"architecture": str(architectures[0]), "parameters": parameters, "dtype": dtype}


def declared_license(folder: Path) -> str | None:
    """What README.md's front matter declares, as it stands there; None where it says nothing.

    An id that no table knows is a declaration too: dropping it would let the text speak alone.
    Several count together, since the card does not say which of them holds for what.
    """
    readme = folder / "README.md"
    if not readme.is_file():
        return None
    front = _FRONT_MATTER.match(readme.read_text("utf-8-sig", errors="replace"))
    found = _LICENSE.search(front[1]) if front else None
    items = list(_items(found["value"])) if found else []
    if all(item.casefold() in _SILENT for item in items):
        return None
    if len(items) == 1:
        return items[0]
    return " AND ".join(f"({item})" if " " in item else item for item in items)


def _items(value: str) -> Iterator[str]:
    """Scalars of a YAML scalar or list, in the block or the inline form."""
    for line in value.splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip().removeprefix("- ")
        for item in bare.strip("[] ").split(","):
            if scalar := item.strip(" \t\"'"):
                yield scalar


def safetensors_header(path: Path) -> dict[str, Any]:
    """Names, types and shapes of the tensors in a file, without reading the tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT, path.stat().st_size - 8):
            raise output.wrong(f"{path.name} is not a safetensors file, or it is truncated")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            tensors = {k: v for k, v in header.items() if k != "__metadata__"}
            ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
            shapes = [(tensor["dtype"], _product(tensor["shape"])) for tensor in tensors.values()]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
            raise output.wrong(f"{path.name} has a broken safetensors header") from e
    if shapes and 8 + length + max(ends) != path.stat().st_size:
        raise output.wrong(
            f"{path.name} is shorter or longer than its header says; download it again"
        )
    return tensors


def _shards(folder: Path) -> set[str]:
    index = folder / INDEX
    return set(_json(index).get("weight_map", {}).values()) if index.is_file() else set()


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise output.wrong(f"{path.name} is not JSON") from e
    if not isinstance(content, dict):
        raise output.wrong(f"{path.name} is not a JSON object")
    return content


def _product(shape: list[int]) -> int:
    product = 1
    for size in shape:
        product *= int(size)
    return product
