"""What a release publishes: wheel and source archive without tests, SBOMs without an address."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from hack.release import packages

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return packages.python_packages(ROOT, tmp_path_factory.mktemp("release"))


def test_wheel_contains_all_programs_and_no_tests(built: list[Path]) -> None:
    """One wheel holds the vocabulary and the four programs, and no test double."""
    wheel, _ = built
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"mens", "mens_operator", "mens_corpus", "mens_trainer", "mens_server"}
    assert not [name for name in names if "test" in name]


def test_source_archive_contains_charts_and_crds(built: list[Path]) -> None:
    """Everything that a packager needs to build and install."""
    _, archive = built
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "LICENSE", "charts/mens-operator/Chart.yaml"} <= names
    assert [name for name in names if name.startswith("crds/")]


def test_wheel_is_reproducible(built: list[Path], tmp_path: Path) -> None:
    """Equal commits give equal bytes."""
    again = packages.python_packages(ROOT, tmp_path)
    assert [path.read_bytes() for path in built] == [path.read_bytes() for path in again]


def test_sbom_lists_every_pinned_package(tmp_path: Path) -> None:
    """Each requirement is a component with its version; the document names no package index."""
    [path] = packages.sboms(ROOT, tmp_path, "0.0.0", ["operator"])
    text = path.read_text()
    components = {(item["name"], item["version"]) for item in json.loads(text)["components"]}
    lines = (ROOT / "requirements" / "operator.txt").read_text().splitlines()
    pinned = {
        tuple(re.split(r"==|[ ;]", line)[:2]) for line in lines if re.match(r"[a-z0-9].*==", line)
    }
    assert len(pinned) > 20
    assert pinned <= components
    assert "index" not in text


def test_checksums_can_be_checked(tmp_path: Path) -> None:
    """The file has the format of sha256sum."""
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "a").write_bytes(b"a")
    written = packages.checksums([tmp_path / "b", tmp_path / "a"], tmp_path).read_text()
    assert written == "".join(
        f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in "ab"
    )
