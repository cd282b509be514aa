"""What a person writes for `mens corpus build`: a MensCorpus or its spec, in JSON or YAML.

Beside `s3` and `git` a source may have `folder: path`, relative to the file: the same build on a
laptop, without a store.
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
from mens_corpus import errors


@dataclass(frozen=True)
class Authored:
    """What a file says."""

    name: str
    """Name of the corpus: that of its metadata, else of its file."""
    spec: corpus.MensCorpusSpec
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Local folders, by source."""


def read(path: Path) -> Authored:
    """Read a file.

    Raises:
        InputWrong: If it cannot be read, with the field that is wrong.
    """
    content = _content(path)
    spec = content.get("spec", content)
    name = path.stem
    if isinstance(content.get("metadata"), dict):
        name = str(content["metadata"].get("name", name))
    folders = _folders(spec, path.parent)
    try:
        return Authored(name, kube.parse(corpus.MensCorpusSpec, spec), folders)
    except pydantic.ValidationError as e:
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in e.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise _wrong(path, "; ".join(lines[:5])) from None


def _content(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise _wrong(path, str(e)) from e
    try:
        content = json.loads(text) if path.suffix == ".json" else _yaml(path, text)
    except ValueError as e:
        raise _wrong(path, str(e)) from e
    if not isinstance(content, dict) or not isinstance(content.get("spec", content), dict):
        raise _wrong(path, "it must hold a MensCorpus or its spec")
    return content


def _yaml(path: Path, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise _wrong(path, "PyYAML is not installed here; write JSON instead") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ValueError(str(e)) from e


def _folders(spec: dict[str, Any], base: Path) -> dict[str, Path]:
    """Take `folder` out of the sources; a stand-in keeps the rest under the API's own rules."""
    found: dict[str, Path] = {}
    sources = spec.get("sources")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict) and isinstance(source.get("folder"), str):
            name = str(source.get("name", ""))
            found[name] = (base / source.pop("folder")).resolve()
            source["s3"] = {"uri": f"s3://local/{name}/"}
    return found


def _wrong(path: Path, what: str) -> errors.InputWrong:
    return errors.InputWrong(reasons.SPEC_INVALID, f"{path}: {what}")
