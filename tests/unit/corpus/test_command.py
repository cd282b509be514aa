"""`mens corpus`: the same build for a person."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from mens.artifacts import manifests
from mens_corpus import command
from tests.support import memory_store

HEADER = "# SPDX-License-Identifier: Apache-2.0\n"
CODE = HEADER + 'def f{0}(a):\n    """Do number {0}."""\n    return {0}\n'


def run(*arguments: str, objects: memory_store.MemoryStore | None = None) -> int:
    """As `mens corpus …` would."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    command.register(commands)
    parsed = parser.parse_args(["corpus", *arguments])
    parsed.open_store = lambda: objects
    code: int = parsed.run(parsed)
    return code


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A folder of code and a file that describes the corpus."""
    (tmp_path / "code").mkdir()
    for number in range(4):
        (tmp_path / "code" / f"m{number}.py").write_text(CODE.format(number))
    return write(tmp_path / "corpus.json", {"name": "code", "folder": "code"})


def write(path: Path, source: dict[str, Any]) -> Path:
    spec = {"sources": [{"extract": ["PythonFunctions"]} | source]}
    path.write_text(json.dumps({"metadata": {"name": "mine"}, "spec": spec}))
    return path


def test_build_and_show(
    tmp_path: Path, described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A local folder becomes a dataset with a manifest, and its rows can be looked at."""
    assert run("build", "-f", str(described), "-o", str(tmp_path / "out")) == 0
    assert "3 train + 1 validation rows" in capsys.readouterr().out
    manifest = manifests.Manifest.parse((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest.name, manifest.compliance.license_expression) == ("mine", "Apache-2.0")
    assert run("show", str(tmp_path / "out"), "-n", "1") == 0
    shown = capsys.readouterr().out
    assert "Describe this function." in shown
    assert '=> {"name":"f' in shown


def test_yaml_is_read_too(tmp_path: Path, described: Path) -> None:
    """JSON is YAML; here the suffix decides who reads it."""
    pytest.importorskip("yaml")
    renamed = described.rename(tmp_path / "corpus.yaml")
    assert run("build", "-f", str(renamed), "-o", str(tmp_path / "out")) == 0


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of a person's is overwritten."""
    assert run("build", "-f", str(described), "-o", str(tmp_path)) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"name": "code", "folder": "missing"}, "SourceNotFound: source code: "),
        ({"name": "code"}, "SpecInvalid: "),
        ({"name": "Code", "folder": "code"}, "sources.0.name"),
        ({"name": "code", "folder": "code", "tint": "red"}, "tint"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path,
    described: Path,
    capsys: pytest.CaptureFixture[str],
    source: dict[str, Any],
    message: str,
) -> None:
    """With the field or the source, and no traceback."""
    write(described, source)
    assert run("build", "-f", str(described), "-o", str(tmp_path / "out")) == 64
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_a_store_is_built_into_and_shown_from(
    tmp_path: Path, described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was published is fetched again and verified before it is shown."""
    objects = memory_store.MemoryStore(["bucket"])
    where = "s3://bucket/corpora/mine/1"
    assert run("build", "-f", str(described), "-o", where, objects=objects) == 0
    assert run("show", where, objects=objects) == 0
    assert "Describe this function." in capsys.readouterr().out
    assert run("show", "s3://missing/x", objects=objects) == 75
