"""Facts about the repository that a test keeps true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hack.tiers import tiers

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [
    *ROOT.glob("src/*"),
    *ROOT.glob("operator/src/*"),
    *ROOT.glob("trainer-image/src/*"),
    *ROOT.glob("server-image/src/*"),
]
TORCH_FREE = ["mens.cli.main", "mens_operator.__main__", "mens_corpus.__main__"]


def _sources() -> list[Path]:
    return [path for package in PACKAGES for path in package.rglob("*.py")]


def test_operator_folder_is_not_a_package() -> None:
    """Python dies at start where a package called operator shadows the standard library's."""
    assert not list((ROOT / "operator").glob("*.py"))


def test_top_level_folders_exist() -> None:
    """The folders of the programs, the chart, the CRDs and the tests exist."""
    expected = {"operator", "trainer-image", "server-image", "charts", "crds", "tests"}
    assert expected <= {path.name for path in ROOT.iterdir() if path.is_dir()}


@pytest.mark.parametrize("module", TORCH_FREE)
def test_light_programs_never_load_torch(module: str) -> None:
    """The operator and the corpus start without torch, whatever they import indirectly."""
    code = f"import {module}, sys; print('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_wire_types_and_recipe_never_load_torch() -> None:
    """Wire types and the recipe can be read on any laptop."""
    code = "import mens_server.protocol, mens_trainer.recipe, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_program_reads_pickle() -> None:
    """A pickle file can run code when it is opened."""
    forbidden = re.compile(r"^\s*(import|from) (pickle|dill|shelve|joblib)\b|torch\.load\(", re.M)
    found = [path for path in _sources() if forbidden.search(path.read_text())]
    assert found == []


def test_requirements_name_no_index() -> None:
    """Compiled requirements carry hashes and no address of any registry."""
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "--hash=sha256:" in text, path
        assert "://" not in text, path
        assert "--index" not in text, path


def test_every_make_target_explains_itself() -> None:
    """`make help` lists every target that a user can call."""
    text = (ROOT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY: (.*)$", text, re.M) for name in line.split()}
    explained = set(re.findall(r"^([a-z0-9-]+):.*## ", text, re.M))
    assert phony <= explained


def test_every_test_belongs_to_a_tier() -> None:
    """A folder of tests outside the tiers would never run."""
    paths = [ROOT / path for tier in tiers.TIERS for path in tier.paths]
    lost = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "tests").rglob("test_*.py")
        if not any(path in file.parents for path in paths)
    ]
    assert lost == []
