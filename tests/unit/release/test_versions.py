"""One version everywhere, and release notes from the changelog."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.release import versions

ROOT = Path(__file__).resolve().parents[3]
CHANGELOG = """# Changelog

## Unreleased

- next

## 1.2.3 - 2026-01-31

- this

## 1.2.2

"""


def test_checkout_names_one_version() -> None:
    """Package, chart and README agree, so that `make release` works from this commit."""
    assert versions.read(ROOT).mismatches == ()


def test_checkout_has_release_notes() -> None:
    """The changelog has a section for the version of the checkout, or an unreleased one."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert versions.notes(text, versions.read(ROOT).package)


def test_mismatch_names_place_and_fix() -> None:
    """A chart that nobody bumped is reported with the version that it needs."""
    found = versions.Versions("1.1.0", (("version of Chart.yaml", "1.0.0"), ("a tag", "1.1.0")))
    assert found.mismatches == (
        "version of Chart.yaml is 1.0.0, but project.version of pyproject.toml is 1.1.0: "
        "set it to 1.1.0",
    )


@pytest.mark.parametrize(("version", "text"), [("1.2.3", "- this"), ("1.3.0", "- next")])
def test_notes(version: str, text: str) -> None:
    """A section for the version wins; without one the unreleased section is used."""
    assert versions.notes(CHANGELOG, version) == text


def test_empty_notes_are_rejected() -> None:
    """A release without a word about what changes is a mistake."""
    with pytest.raises(ValueError, match=r"section '1\.2\.2' of CHANGELOG\.md is empty"):
        versions.notes(CHANGELOG, "1.2.2")


def test_missing_notes_are_rejected() -> None:
    """A changelog without any usable section is reported with the sections it needs."""
    with pytest.raises(ValueError, match=r"no section '1\.0\.0' and no section 'Unreleased'"):
        versions.notes("# Changelog\n", "1.0.0")
