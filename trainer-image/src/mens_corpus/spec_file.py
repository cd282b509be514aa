"""The input file of `mens corpus build`: a MensCorpus or its spec, in JSON or YAML.

Instead of `s3` or `git`, a source can have `folder: path`, relative to the file. Such a build runs
on a laptop without a store.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from mens.api import corpus, kube, reasons
from mens.runtime import errors


@dataclass(frozen=True)
class SpecFile:
    """The content of an input file."""

    name: str
    """Name of the corpus: `metadata.name`, or else the name of the file."""
    spec: corpus.MensCorpusSpec
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Local folders, by name of the source."""


def read(path: Path) -> SpecFile:
    """Read an input file.

    Raises:
        InvalidInputError: If it is invalid; the message names the field.
    """
    content = _content(path)
    spec = content.get("spec", content)
    name = path.stem
    if isinstance(content.get("metadata"), dict):
        name = str(content["metadata"].get("name", name))
    folders = _folders(spec, path.parent)
    try:
        return SpecFile(name, kube.parse(corpus.MensCorpusSpec, spec), folders)
    except pydantic.ValidationError as e:
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in e.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise _invalid(path, "; ".join(lines[:5])) from None


def _content(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise _invalid(path, str(e)) from e
    try:
        content = json.loads(text) if path.suffix == ".json" else _yaml(path, text)
    except ValueError as e:
        raise _invalid(path, str(e)) from e
    if not isinstance(content, dict) or not isinstance(content.get("spec", content), dict):
        raise _invalid(path, "the file must contain a MensCorpus or its spec")
    return content


def _yaml(path: Path, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise _invalid(
            path, "PyYAML is not installed; install it, or write the file in JSON"
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ValueError(str(e)) from e


def _folders(spec: dict[str, Any], base: Path) -> dict[str, Path]:
    """Replace `folder` in the sources by a placeholder for `s3`, which the API validates."""
    found: dict[str, Path] = {}
    sources = spec.get("sources")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict) and isinstance(source.get("folder"), str):
            name = str(source.get("name", ""))
            found[name] = (base / source.pop("folder")).resolve()
            source["s3"] = {"uri": f"s3://local/{name}/"}
    return found


def _invalid(path: Path, problem: str) -> errors.InvalidInputError:
    return errors.InvalidInputError(reasons.SPEC_INVALID, f"{path}: {problem}")
