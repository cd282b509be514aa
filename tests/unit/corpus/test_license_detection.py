"""License detection: SPDX headers, license files, and the declaration of the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from mens.provenance import expressions, licenses
from mens_corpus import license_detection, spdx_headers
from mens_corpus.readers import base

APACHE = (Path(__file__).parents[3] / "LICENSE").read_bytes()
"""The project's own: Apache-2.0."""
UNKNOWN = b"Do what is right.\n"
SPDX = "SPDX-License-" + "Identifier:"  # in two parts, since tools read this file too


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("MIT", "MIT"),
        ("  MIT  #", "MIT"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("MIT, GPL-3.0-only", expressions.NOASSERTION),
        ("MIT/GPL-3.0", expressions.NOASSERTION),
        ("MIT & Proprietary", expressions.NOASSERTION),
        ("MIT_modified", expressions.NOASSERTION),
        ("Apache-2.0 (see LICENSE)", expressions.NOASSERTION),
        ("MIT é", expressions.NOASSERTION),
        ("", expressions.NOASSERTION),
    ],
)
def test_header_extends_to_the_end_of_its_line(line: str, expected: str) -> None:
    """A line that is not entirely an expression is NOASSERTION, never its first word."""
    assert spdx_headers.parse("a.py", f"# {SPDX} {line}\nx = 1\n".encode()) == expected
    assert spdx_headers.parse("a.md", f"<!-- {SPDX} {line} -->\n# T\n".encode()) == expected
    assert spdx_headers.parse("a.md", f"<!--\n{SPDX} {line}\n-->\n".encode()) == expected


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a.py", f"# {SPDX} MIT\n# {SPDX} CC-BY-NC-4.0\n", "CC-BY-NC-4.0 AND MIT"),
        ("a.py", f"#!/bin/x\n# {SPDX} MIT\nx = 1  # {SPDX} 0BSD\n", "0BSD AND MIT"),
        ("a.py", f"# {SPDX} MIT\n# {SPDX} what, else\n", expressions.NOASSERTION),
        ("a.md", f"<!-- {SPDX} MIT -->\n\ntext <!-- {SPDX} 0BSD -->\n", "0BSD AND MIT"),
        ("a.py", f'"""Check.\n\n    # {SPDX} MIT\n"""\n', None),
        ("a.py", f'import os\nHEADER = """\n# {SPDX} MIT\n"""\n', None),
        ("a.py", f"# {SPDX} MIT\nx = '''\n" + "\n" * spdx_headers.WINDOW + "'''\n", "MIT"),
        ("a.py", "#\n" * spdx_headers.WINDOW + f"# {SPDX} MIT\n", None),
        ("a.py", f"# coding: latin-1\n# é\n# {SPDX} MIT\n", "MIT"),
        ("a.md", f"# T\n\n```html\n<!-- {SPDX} MIT -->\n```\n", None),
        ("a.md", f"# T\n\n    {SPDX} MIT\n", None),
    ],
)
def test_all_headers_in_comments_are_joined(path: str, text: str, expected: str | None) -> None:
    """Headers are joined by AND; the same line in a string or a fence is an example."""
    encoding = "latin-1" if "latin-1" in text else "utf-8"
    assert spdx_headers.parse(path, text.encode(encoding)) == expected


def detect(
    files: dict[str, bytes], declared: str | None = None, path: str = "a.py"
) -> license_detection.DetectedLicense:
    table = licenses.builtin()
    legal_files = [license_detection.identify(name, data, table) for name, data in files.items()]
    return license_detection.LicenseDetector(legal_files, declared, table).detect(path, b"x = 1\n")


@pytest.mark.parametrize(
    ("files", "declared", "expected", "evidence"),
    [
        ({"LICENSE": APACHE}, None, "Apache-2.0", "File"),
        ({"LICENSE": APACHE}, "Apache-2.0", "Apache-2.0", "File"),
        ({"LICENSE": APACHE}, "MIT", expressions.NOASSERTION, "File"),
        ({"LICENSE": APACHE, "COPYING": UNKNOWN}, "MIT", expressions.NOASSERTION, "Declared"),
        ({"LICENSE": APACHE, "COPYING": UNKNOWN}, "Apache-2.0", "Apache-2.0", "Declared"),
        ({"LICENSE": APACHE, "COPYING": UNKNOWN}, "MIT OR Apache-2.0", "Apache-2.0", "Declared"),
        ({"LICENSE": APACHE, "COPYING": UNKNOWN}, None, expressions.NOASSERTION, "None"),
        ({"COPYING": UNKNOWN}, "MIT", "MIT", "Declared"),
        ({}, "MIT", "MIT", "Declared"),
        ({}, None, expressions.NOASSERTION, "None"),
    ],
)
def test_identified_license_text_overrides_the_declaration(
    files: dict[str, bytes], declared: str | None, expected: str, evidence: str
) -> None:
    """A declaration that contradicts an identified text blocks, even beside an unreviewed text."""
    found = detect(files, declared)
    assert (found.expression, found.evidence) == (expected, evidence)
    if expected == expressions.NOASSERTION:
        assert ";" in found.problem
    else:
        assert [text.path for text in found.files] == sorted(files)


@pytest.mark.parametrize("size", [license_detection.TEXT_LIMIT + 1, base.DOCUMENT_LIMIT])
def test_large_license_file_is_unknown_and_not_absent(size: int) -> None:
    """Documents below it do not get the license of the parent folder."""
    files = {"LICENSE": APACHE, "vendor/LICENSE": b"x" * size}
    assert detect(files, path="vendor/a.py").expression == expressions.NOASSERTION
    assert "vendor/LICENSE" in detect(files, path="vendor/a.py").problem
    assert detect(files, "MIT", path="vendor/a.py").expression == "MIT"
    assert detect(files, path="a.py").expression == "Apache-2.0"
