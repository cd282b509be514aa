"""Line coverage of each package over all tiers that ran, and the floor that it must keep."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hack.support import paths

SWITCH = "MENS_COVERAGE"
"""Environment variable; `1` measures coverage. CI sets it; it costs a third more processor time."""
TIERS = ("unit", "scenario", "storage", "model")
"""Tiers whose code runs in pytest's own process, where it can be measured."""


@dataclass(frozen=True)
class Package:
    """Coverage of one package."""

    name: str
    lines: int
    """Lines that can be executed."""
    covered: int
    """Lines that a test executed."""
    floor: int
    """Percent of the lines that must be covered."""

    @property
    def percent(self) -> float:
        """Covered lines in percent; 100 for a package without lines."""
        return 100.0 * self.covered / self.lines if self.lines else 100.0

    @property
    def is_below(self) -> bool:
        """Whether the package misses its floor."""
        return self.percent < self.floor


def wanted() -> bool:
    """Whether coverage is to be measured."""
    return os.environ.get(SWITCH) == "1"


def arguments(tier: str) -> list[str]:
    """Return the arguments of pytest that measure a tier; none where nothing is measured."""
    return ["--cov", "--cov-report="] if wanted() and tier in TIERS else []


def environment(tier: str, out: Path) -> dict[str, str]:
    """Return the environment that keeps the data of tiers apart."""
    return {"COVERAGE_FILE": str(out / f"coverage.{tier}")}


def floors(root: Path) -> dict[str, int]:
    """Read `tool.mens.coverage-floors` of pyproject.toml: package -> percent."""
    tools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    return {str(name): int(floor) for name, floor in tools["mens"]["coverage-floors"].items()}


def measure(root: Path, out: Path) -> list[Package]:
    """Combine the data of all tiers and return the coverage of each package that has a floor."""
    data, report = out / "coverage", out / "coverage.json"
    files = [str(path) for tier in TIERS if (path := out / f"coverage.{tier}").exists()]
    environ = {**os.environ, "COVERAGE_FILE": str(data)}
    for command in (
        ["combine", "--keep", "--quiet", *files],
        ["json", "--quiet", "-o", str(report)],
    ):
        subprocess.run(
            [sys.executable, "-m", "coverage", *command], cwd=root, env=environ, check=True
        )
    return packages(json.loads(report.read_text())["files"], floors(root))


def packages(files: Mapping[str, Mapping[str, object]], floors: Mapping[str, int]) -> list[Package]:
    """Add up the files of each package. A file belongs to the longest package name that fits."""
    lines: collections.Counter[str] = collections.Counter()
    covered: collections.Counter[str] = collections.Counter()
    for path, entry in files.items():
        summary = entry["summary"]
        assert isinstance(summary, dict)
        module = path.partition("src/")[2].removesuffix(".py").replace("/", ".")
        owners = [name for name in floors if f"{module}.".startswith(f"{name}.")]
        if owners:
            owner = max(owners, key=len)
            lines[owner] += summary["num_statements"]
            covered[owner] += summary["covered_lines"]
    return [Package(name, lines[name], covered[name], floor) for name, floor in floors.items()]


def below_floor(passed: Iterable[str], out: Path) -> bool:
    """Print the coverage, if it was measured, and return whether a package misses its floor.

    Args:
        passed: Names of the tiers that passed. A floor means something only if all measured
            tiers did.
        out: Folder with the data of the tiers.
    """
    missing = set(TIERS) - set(passed)
    if not wanted():
        return False
    if missing:
        sys.stdout.write(f"\ncoverage is not checked: {', '.join(sorted(missing))} did not pass\n")
        return False
    found = measure(paths.REPOSITORY, out)
    sys.stdout.write(table(found))
    return any(one.is_below for one in found)


def table(found: Iterable[Package]) -> str:
    """Return the coverage as a table, with a line for each package below its floor."""
    rows = list(found)
    lines = ["", f"{'package':24} {'lines':>6} {'covered':>8} {'floor':>6}"]
    for one in rows:
        lines.append(f"{one.name:24} {one.lines:6} {one.percent:7.1f}% {one.floor:5}%")
    lines += [
        f"!!! {one.name}: {one.percent:.1f} % of its lines are covered, and its floor is "
        f"{one.floor} %: add tests for what you added"
        for one in rows
        if one.is_below
    ]
    return "\n".join(lines) + "\n"
