"""Coverage by package: files are added up, and a package below its floor is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.tiers import coverage

ROOT = Path(__file__).resolve().parents[3]


def file(statements: int, covered: int) -> dict[str, object]:
    return {"summary": {"num_statements": statements, "covered_lines": covered}}


FILES = {
    "src/mens/api/corpus.py": file(10, 10),
    "src/mens/artifacts/s3.py": file(10, 5),
    "src/mens/artifacts/store.py": file(10, 10),
    "operator/src/mens_operator/app.py": file(4, 1),
    "hack/tiers/tiers.py": file(7, 7),
}


def test_files_are_added_up_by_package() -> None:
    """The most specific package counts, and tools without a floor are left out."""
    floors = {"mens": 90, "mens.artifacts": 80, "mens_operator": 0}
    found = coverage.packages(FILES, floors)
    assert [(one.name, one.lines, one.covered) for one in found] == [
        ("mens", 10, 10),
        ("mens.artifacts", 20, 15),
        ("mens_operator", 4, 1),
    ]
    assert [one.name for one in found if one.is_below] == ["mens.artifacts"]


def test_package_below_its_floor_is_named() -> None:
    """With its percentage and the fix."""
    text = coverage.table([coverage.Package("mens", 200, 150, 80)])
    assert "!!! mens: 75.0 % of its lines are covered, and its floor is 80 %: add tests" in text


def test_every_shipped_package_has_a_floor() -> None:
    """A new package cannot escape."""
    shipped = {path.name for folder in ROOT.glob("**/src") for path in folder.glob("mens*")}
    roots = {name.split(".")[0] for name in coverage.floors(ROOT)}
    assert roots == {name for name in shipped if "." not in name}


def test_floors_need_all_measured_tiers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A tier that did not run would make every package look untested."""
    monkeypatch.setenv(coverage.SWITCH, "1")
    assert not coverage.below_floor(["unit", "scenario", "storage"], tmp_path)
    assert "coverage is not checked: model did not pass" in capsys.readouterr().out


def test_nothing_is_measured_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A developer's run costs nothing more."""
    monkeypatch.delenv(coverage.SWITCH, raising=False)
    assert coverage.arguments("unit") == []
    assert not coverage.below_floor([], tmp_path)
