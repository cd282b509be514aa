"""The `mens corpus` command."""

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
    """Run `mens corpus` with these arguments; returns the exit code."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    command.register(commands)
    parsed = parser.parse_args(["corpus", *arguments])
    parsed.open_store = lambda: objects
    code: int = parsed.run(parsed)
    return code


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
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
    tmp_path: Path, spec_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A local folder becomes a dataset with a manifest; show prints its rows."""
    assert run("build", "-f", str(spec_path), "-o", str(tmp_path / "out")) == 0
    assert "3 training rows, 1 validation rows" in capsys.readouterr().out
    manifest = manifests.Manifest.parse((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest.name, manifest.compliance.license_expression) == ("mine", "Apache-2.0")
    assert run("show", str(tmp_path / "out"), "-n", "1") == 0
    shown = capsys.readouterr().out
    assert "Describe this function." in shown
    assert '=> {"name":"f' in shown


def test_spec_in_yaml(tmp_path: Path, spec_path: Path) -> None:
    """The suffix selects the parser; JSON is valid YAML."""
    pytest.importorskip("yaml")
    renamed = spec_path.rename(tmp_path / "corpus.yaml")
    assert run("build", "-f", str(renamed), "-o", str(tmp_path / "out")) == 0


def test_output_folder_must_be_empty(
    tmp_path: Path, spec_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Existing files are not overwritten."""
    assert run("build", "-f", str(spec_path), "-o", str(tmp_path)) == 1
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
def test_error_is_one_line(
    tmp_path: Path,
    spec_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: dict[str, Any],
    message: str,
) -> None:
    """It names the field or the source, and there is no traceback."""
    write(spec_path, source)
    assert run("build", "-f", str(spec_path), "-o", str(tmp_path / "out")) == 64
    printed = capsys.readouterr().err.strip()
    assert message in printed
    assert "\n" not in printed


def test_build_into_a_store_and_show_from_it(
    tmp_path: Path, spec_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A published dataset is downloaded and verified before it is shown."""
    objects = memory_store.MemoryStore(["bucket"])
    where = "s3://bucket/corpora/mine/1"
    assert run("build", "-f", str(spec_path), "-o", where, objects=objects) == 0
    assert run("show", where, objects=objects) == 0
    assert "Describe this function." in capsys.readouterr().out
    assert run("show", "s3://missing/x", objects=objects) == 75
