"""The version of a release, and every file that must name the same one."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import yaml

_SEMVER = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_HEADING = re.compile(r"^## (.+?)(?: - \d{4}-\d{2}-\d{2})?$", re.M)
UNRELEASED = "Unreleased"
"""Heading of the changelog section that the next release takes over."""


@dataclass(frozen=True)
class Versions:
    """The versions that stand in the checkout, by file and field."""

    package: str
    """`project.version` of pyproject.toml, which the others must equal."""
    others: tuple[tuple[str, str], ...]
    """Where another version stands, and what it is."""

    @property
    def mismatches(self) -> tuple[str, ...]:
        """Sentences about every version that differs from the package's."""
        return tuple(
            f"{where} is {version}, but project.version of pyproject.toml is {self.package}: "
            f"set it to {self.package}"
            for where, version in self.others
            if version != self.package
        )


def read(root: Path) -> Versions:
    """Read all versions of a checkout.

    Raises:
        ValueError: If the version of the package is not a semantic version.
    """
    package = str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])
    if not _SEMVER.fullmatch(package):
        raise ValueError(
            f"project.version of pyproject.toml is {package!r}, which is not a semantic version "
            "such as 1.2.3 or 1.2.3-rc.1"
        )
    chart = yaml.safe_load((root / "charts" / "mens-operator" / "Chart.yaml").read_text())
    tags = re.findall(r"-t registry\.example\.org/\S+:(\S+)", (root / "README.md").read_text())
    return Versions(
        package=package,
        others=(
            ("version of Chart.yaml", str(chart["version"])),
            ("appVersion of Chart.yaml", str(chart["appVersion"])),
            *(("an image tag in README.md", tag) for tag in sorted(set(tags))),
        ),
    )


def notes(changelog: str, version: str) -> str:
    """Return the changelog's section for a version, or the unreleased one if there is none.

    Raises:
        ValueError: If neither section exists, or the section is empty.
    """
    headings = list(_HEADING.finditer(changelog))
    for title in (version, UNRELEASED):
        for at, heading in enumerate(headings):
            if heading.group(1) != title:
                continue
            end = headings[at + 1].start() if at + 1 < len(headings) else len(changelog)
            text = changelog[heading.end() : end].strip()
            if not text:
                raise ValueError(f"section {title!r} of CHANGELOG.md is empty: list what changes")
            return text
    raise ValueError(f"CHANGELOG.md has no section {version!r} and no section {UNRELEASED!r}")
