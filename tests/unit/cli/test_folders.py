"""What a model folder declares about its license: all of it counts, or the import fails open."""

from __future__ import annotations

from pathlib import Path

import pytest

from mens.artifacts import manifests
from mens.cli import folders, model
from tests.support import manifests as some

UPSTREAM = manifests.Upstream(family="tiny", model_id="acme/tiny", revision="1")


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: 'Apache-2.0'  # as upstream", "Apache-2.0"),
        ('"license" : "mit"', "mit"),
        ("tags: [a]\nlicense: cc-by-nc-nd-4.0\nlanguage:\n- en", "cc-by-nc-nd-4.0"),
        ("license: openrail++", "openrail++"),
        ("license: Apache 2.0", "Apache 2.0"),
        ("license:\n  - cc-by-nc-4.0\nlanguage: en", "cc-by-nc-4.0"),
        ("license:\n- mit\n\n# and\n- cc-by-nc-4.0", "mit AND cc-by-nc-4.0"),
        ("license: [mit, 'cc-by-nc-4.0']", "mit AND cc-by-nc-4.0"),
        ("license:\n- MIT OR Apache-2.0\n- openrail", "(MIT OR Apache-2.0) AND openrail"),
        ("license:\n  cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("license: [mit, other]", "mit AND other"),
        ("license: other\nlicense_name: acme-terms", None),
        ("license: Unknown", None),
        ("license:", None),
        ("license_name: acme-terms", None),
        ("metadata:\n  license: mit", None),
    ],
)
def test_declared_license(tmp_path: Path, front: str, expected: str | None) -> None:
    """Whatever README.md declares is returned as it stands there; `other` alone says nothing."""
    readme = tmp_path / "README.md"
    for text in (f"---\n{front}\n---\n# It\n", f"\ufeff---\r\n{front}\r\n---"):
        readme.write_text(text, newline="")
        assert folders.declared_license(tmp_path) == expected


def test_no_declaration(tmp_path: Path) -> None:
    """A folder without README.md, or with one without front matter, declares nothing."""
    assert folders.declared_license(tmp_path) is None
    (tmp_path / "README.md").write_text("# It\nlicense: mit\n")
    assert folders.declared_license(tmp_path) is None


@pytest.mark.parametrize(
    "declared",
    ["license: cc-by-nc-nd-4.0", "license: openrail", "license:\n  - cc-by-nc-4.0",
     "license: [apache-2.0, cc-by-nc-4.0]"],
)  # fmt: skip
def test_a_declaration_that_no_row_knows_blocks(tmp_path: Path, declared: str) -> None:
    """A model that declares another license than its text is not imported under its text's."""
    some.folder(tmp_path, {"config.json": b"{}", "README.md": f"---\n{declared}\n---\n".encode()})
    with pytest.raises(model.LicenseUnknownError, match=r"but the text is that of Apache-2\.0"):
        model.draft(tmp_path, upstream=UPSTREAM, license_text=some.APACHE.read_bytes())


@pytest.mark.parametrize("declared", ["apache-2.0", "other", "[Apache-2.0]"])
def test_a_declaration_that_agrees(tmp_path: Path, declared: str) -> None:
    """A model whose declaration agrees with its text, or says nothing, has its text's license."""
    readme = f"---\nlicense: {declared}\n---\n".encode()
    some.folder(tmp_path, {"config.json": b"{}", "README.md": readme})
    found = model.draft(tmp_path, upstream=UPSTREAM, license_text=some.APACHE.read_bytes())
    assert found.compliance.license_expression == "Apache-2.0"


@pytest.mark.parametrize("name", ["GPL-2", "GPL-3", "LGPL-2.1", "LGPL-3"])
def test_the_hubs_names_of_the_gnu_licenses(tmp_path: Path, name: str) -> None:
    """Hugging Face writes `gpl-3.0` where SPDX writes GPL-3.0-only; that is not a conflict."""
    short = name if "." in name else f"{name}.0"
    readme = f"---\nlicense: {short.lower()}\n---\n".encode()
    some.folder(tmp_path, {"config.json": b"{}", "README.md": readme})
    text = (some.APACHE.parent / name).read_bytes()
    found = model.draft(tmp_path, upstream=UPSTREAM, license_text=text)
    assert found.compliance.license_expression == short
