"""The license of a document: its own headers, the files beside it, and what the source declares."""

from __future__ import annotations

from pathlib import Path

import pytest

from mens.provenance import expressions, licenses
from mens_corpus import license_detection, spdx_headers
from mens_corpus.readers import trees

APACHE = (Path(__file__).parents[3] / "LICENSE").read_bytes()
"""The project's own: Apache-2.0."""
UNKNOWN = b"Do what is right.\n"
SPDX = "SPDX-License-" + "Identifier:"  # in two parts, since tools read this file too


@pytest.mark.parametrize(
    ("said", "expected"),
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
def test_a_header_is_read_to_the_end_of_its_line(said: str, expected: str) -> None:
    """What is not wholly an expression says nothing, and never its first word alone."""
    assert spdx_headers.declared("a.py", f"# {SPDX} {said}\nx = 1\n".encode()) == expected
    assert spdx_headers.declared("a.md", f"<!-- {SPDX} {said} -->\n# T\n".encode()) == expected
    assert spdx_headers.declared("a.md", f"<!--\n{SPDX} {said}\n-->\n".encode()) == expected


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
def test_all_headers_in_comments_count_together(path: str, text: str, expected: str | None) -> None:
    """Two headers are joined by AND; the same line in a string or a fence is an example."""
    encoding = "latin-1" if "latin-1" in text else "utf-8"
    assert spdx_headers.declared(path, text.encode(encoding)) == expected


def conclude(
    files: dict[str, bytes], declared: str | None = None, path: str = "a.py"
) -> license_detection.Conclusion:
    table = licenses.builtin()
    held = [license_detection.captured(name, data, table) for name, data in files.items()]
    return license_detection.Concluder(held, declared, table).conclude(path, b"x = 1\n")


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
def test_a_known_text_is_never_overruled(
    files: dict[str, bytes], declared: str | None, expected: str, evidence: str
) -> None:
    """A declaration that a known text contradicts blocks, whatever unknown text lies beside it."""
    found = conclude(files, declared)
    assert (found.expression, found.evidence) == (expected, evidence)
    if expected == expressions.NOASSERTION:
        assert ";" in found.doubt
    else:
        assert [text.path for text in found.texts] == sorted(files)


@pytest.mark.parametrize("size", [license_detection.TEXT_LIMIT + 1, trees.DOCUMENT_LIMIT])
def test_a_long_license_file_is_unknown_and_not_absent(size: int) -> None:
    """What lies below it is not under the license of the folder above."""
    files = {"LICENSE": APACHE, "vendor/LICENSE": b"x" * size}
    assert conclude(files, path="vendor/a.py").expression == expressions.NOASSERTION
    assert "vendor/LICENSE" in conclude(files, path="vendor/a.py").doubt
    assert conclude(files, "MIT", path="vendor/a.py").expression == "MIT"
    assert conclude(files, path="a.py").expression == "Apache-2.0"
