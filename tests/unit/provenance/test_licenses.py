"""Facts about license identity and about what is concluded from words and texts."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens.artifacts import manifests
from mens.provenance import expressions, license_texts, licenses

DEBIAN = Path("/usr/share/common-licenses")
ON_DEBIAN = pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's license texts are not here")

MIT = """MIT License

Copyright (c) 2020 Ada Lovelace

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
MODIFIED = (
    "Our only modification part is that, if the Software is used for a product with more than "
    "100 million monthly active users, you shall prominently display its name.\n"
)


def id_of(text: str | bytes) -> str | None:
    row = licenses.identify(text)
    return row.id if row else None


@ON_DEBIAN
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Apache-2.0", "Apache-2.0"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-3", "GPL-3.0-only"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("LGPL-3", "LGPL-3.0-only"),
        ("MPL-2.0", "MPL-2.0"),
        ("CC0-1.0", "CC0-1.0"),
        ("GFDL-1.3", None),
    ],
)
def test_debians_texts(name: str, expected: str | None) -> None:
    """The texts that Debian ships are recognized; one that nobody reviewed is not."""
    assert id_of((DEBIAN / name).read_bytes()) == expected


def test_pythons_text() -> None:
    """The license file of the Python that runs this test is the reviewed PSF text."""
    path = Path(sysconfig.get_path("stdlib"), "LICENSE.txt")
    if not path.is_file():
        pytest.skip(f"this Python was installed without {path}")
    if not (3, 8) <= sys.version_info < (3, 14):
        pytest.skip("the text of this release was not reviewed")
    assert id_of(path.read_bytes()) == "PSF-2.0"


@pytest.mark.parametrize(
    "text",
    [
        MIT,
        MIT.replace("2020 Ada Lovelace", "1999-2026, 2027 Grace B. M. Hopper <g@example.org>"),
        MIT.replace("Copyright (c) 2020 Ada", "Copyright © 2020 Ada"),
        MIT.replace("\n", "\r\n"),
        MIT.replace("\n", " \n  "),
        " ".join(MIT.replace("Copyright (c) 2020 Ada Lovelace", "").split()),
        MIT.upper(),
        "\ufeff" + MIT,
        MIT.replace('"', "”"),
        MIT.replace("MIT License", "The MIT License (MIT)\n====="),
    ],
)
def test_the_same_license(text: str) -> None:
    """Holder, year, line breaks, case and quotation marks are not part of a license's identity."""
    assert id_of(text.encode()) == "MIT"


@pytest.mark.parametrize(
    "text",
    [
        MIT + MODIFIED,
        MODIFIED + MIT,
        MIT.replace("free of charge", "for a fee"),
        MIT.replace("without restriction", "with restriction"),
        MIT.replace("shall be included", "should be included"),
        MIT.replace("Ada Lovelace", "Ada Lovelace. Non-commercial use only"),
        MIT.replace("Ada Lovelace", "Ada. Do not distribute"),
        MIT.replace("Ada Lovelace", "Ada. You must display our name"),
        MIT.replace("Ada Lovelace", "某公司，禁止商业使用"),
        MIT.replace("Ada Lovelace", "Foo GmbH, kommerzielle Nutzung verboten"),
        MIT.replace("Ada Lovelace", "FOO GMBH, KOMMERZIELLE NUTZUNG VERBOTEN"),
        MIT.replace("Ada Lovelace", "Foo. Research purposes, no military applications"),
        MIT.replace("Ada Lovelace", "Foo. Academia Only. All rights reserved."),
        MIT.replace("Ada Lovelace", "Foo. All rights reserved. Nur Forschung"),
        MIT.replace("Ada Lovelace", "Foo (interdit aux entreprises)"),
        MIT.replace("Ada Lovelace", "Foo, Copyright 2021 Bar, recherche seulement"),
        MIT.replace("sublicense, and/or sell", "sublicense"),
        MIT.replace("NONINFRINGEMENT", "INFRINGEMENT"),
        MIT[:-40],
        "MIT",
        "",
    ],
)
def test_another_license(text: str) -> None:
    """One changed word is another license, also where it hides in the copyright line."""
    assert licenses.identify(text) is None


@pytest.mark.parametrize(
    "holder",
    [
        "Facebook, Inc. and its affiliates. All Rights Reserved",
        "2018- The Hugging Face team. All rights reserved.",
        "2022-23 THL A29 Limited, a Tencent company.",
        "2017-2021 Ingy döt Net",
        "2017-NOW  wzshiming <wzshiming@foxmail.com>",
        "2010-202x The platformdirs developers",
        "2008-present The pip developers (see AUTHORS.txt file)",
        "2017-present, [Encode OSS Ltd](https://www.encode.io/).",
        "2017 - 2026 NVIDIA CORPORATION & AFFILIATES. All rights reserved.",
        "2011-2013, 'pq' Contributors. Portions Copyright (c) 2011 Blake Mizerany",
        "2013, Georg Reinke (<guelfey at gmail dot com>), Google",
        "2022-    , Advanced Micro Devices, Inc. (Anthony Chang, Chunyu Lai, Illia Silin)",
        "2018 Bundesamt für Sicherheit in der Informationstechnik",
        "2024 deepset GmbH",
        "2023 01.AI",
    ],
)
def test_real_holders(holder: str) -> None:
    """Copyright lines as real license files have them are not part of a license's identity."""
    assert id_of(MIT.replace("2020 Ada Lovelace", holder)) == "MIT"


INSTALLED = sorted(Path(sysconfig.get_path("purelib")).glob("*.dist-info/licenses/LICENSE*"))


def test_license_files_of_installed_packages() -> None:
    """The license files beside this test's libraries are recognized, whoever their holders are."""
    expected = {
        "boto3": "Apache-2.0", "botocore": "Apache-2.0", "pydantic": "MIT",
        "pytest": "MIT", "pyyaml": "MIT", "rfc8785": "Apache-2.0", "urllib3": "MIT",
    }  # fmt: skip
    found = {
        package: id_of(path.read_bytes())
        for path in INSTALLED
        if (package := path.parents[1].name.partition("-")[0].lower()) in expected
    }
    assert found == {name: expected[name] for name in found}
    assert found


WORDS = MIT.split()


@given(st.integers(0, len(WORDS) - 1), st.sampled_from(["not", "only", "commercial", "revenue"]))
def test_one_more_word(at: int, word: str) -> None:
    """Wherever a word is put into a text, it is no longer the reviewed one."""
    assert licenses.identify(" ".join([*WORDS[:at], word, *WORDS[at:]])) is None


def test_notices() -> None:
    """The lines that name holders are found, for the NOTICE."""
    assert license_texts.notices(MIT) == ("Copyright (c) 2020 Ada Lovelace",)
    assert license_texts.notices("  © 2020 Ada\nCopyright © 2020 Ada\n") == (
        "Copyright © 2020 Ada",
    )


def test_latin_1() -> None:
    """A text in an old encoding is read, not refused."""
    data = MIT.replace("Ada", "Adà").encode("latin-1")
    assert id_of(data) == "MIT"


def test_nearest_license_file() -> None:
    """The license file that stands nearest above a source file is the one that applies."""
    held = ["LICENSE", "vendor/x/LICENSE-MIT", "vendor/x/LICENSE-APACHE"]
    assert license_texts.nearest("src/a.py", held) == ("LICENSE",)
    assert license_texts.nearest("a.py", held) == ("LICENSE",)
    assert license_texts.nearest("vendor/x/deep/b.py", held) == held_in_x(held)
    assert license_texts.nearest("a.py", ["sub/LICENSE"]) == ()


def held_in_x(held: list[str]) -> tuple[str, ...]:
    return tuple(sorted(held[1:]))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("LICENSE", True),
        ("a/LICENSE.txt", True),
        ("LICENCE.md", True),  # codespell:ignore licence
        ("COPYING", True),
        ("COPYING.LESSER", True),
        ("LICENSE-APACHE", True),
        ("UNLICENSE", True),
        ("license.py", False),
        ("licenses.json", False),
        ("README.md", False),
    ],
)
def test_license_file_names(path: str, expected: bool) -> None:
    """License files are known by name, and code about licenses is not taken for one."""
    assert license_texts.is_license_file(path) is expected


APACHE_ROW = licenses.builtin().by_id("Apache-2.0")
MIT_ROW = licenses.builtin().by_id("MIT")


@pytest.mark.parametrize(
    ("declared", "detected", "expected", "words"),
    [
        (None, MIT_ROW, "MIT", "the text is that of MIT"),
        ("MIT", MIT_ROW, "MIT", "declared as MIT"),
        ("mit", MIT_ROW, "MIT", "declared as mit"),
        ("MIT OR Apache-2.0", MIT_ROW, "MIT", "declared as MIT OR"),
        ("Apache-2.0", MIT_ROW, None, "correct the one that is wrong"),
        ("MIT AND Apache-2.0", MIT_ROW, None, "correct the one that is wrong"),
        ("MIT", None, None, "its license text is not reviewed"),
        ("not an ( expression", MIT_ROW, None, "correct the declaration"),
        (None, None, None, "add the license file"),
    ],
)
def test_conclusions(
    declared: str | None, detected: licenses.Row | None, expected: str | None, words: str
) -> None:
    """A text outweighs a word, a conflict blocks, and the message says how to go on."""
    found = licenses.conclude(declared, detected)
    assert found.expression == (expected or expressions.NOASSERTION)
    assert found.known is (expected is not None)
    assert found.reason == ("" if expected else "LicenseUnknown")
    assert words in found.message
    if not expected:
        assert found.license_class is manifests.LicenseClass.UNKNOWN


def test_an_alias_is_kept() -> None:
    """The GPL's text cannot say -or-later; where its owner does, that is concluded."""
    row = licenses.builtin().by_id("GPL-3.0-or-later")
    assert licenses.conclude("GPL-3.0-or-later", row).expression == "GPL-3.0-or-later"
    assert licenses.conclude(None, row).expression == "GPL-3.0-only"


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("Apache-2.0", "Apache-2.0"),
        ("apache-2.0", "Apache-2.0"),
        ("MIT OR GPL-3.0-only", "MIT"),
        ("LicenseRef-Llama-3.1 OR CC0-1.0", "CC0-1.0"),
        ("MIT AND (GPL-3.0-only OR CC0-1.0)", "CC0-1.0 AND MIT"),
        ("LicenseRef-Llama-3.1", None),
        ("MIT AND LicenseRef-Gemma", None),
        ("Vim", None),
        ("NOASSERTION", None),
        ("", None),
    ],
)
def test_declarations(declared: str, expected: str | None) -> None:
    """Of alternatives the one that asks least is taken; one unknown part makes all unknown."""
    found = licenses.declare(declared)
    assert found.expression == (expected or expressions.NOASSERTION)
    assert licenses.is_known(declared) is (expected is not None)


def test_unread_licenses_say_so() -> None:
    """A license known by name only is unknown, and the message says where its text stands."""
    found = licenses.declare("LicenseRef-Llama-3.1")
    assert "nobody reviewed its text (https://" in found.message


def test_the_table() -> None:
    """No id and no text stands for two rows, and whatever clears has a text that was read."""
    rows = licenses.builtin().rows
    ids = [name.casefold() for row in rows for name in row.ids]
    digests = [text.digest for row in rows for text in row.texts]
    assert len(ids) == len(set(ids))
    assert len(digests) == len(set(digests))
    for row in rows:
        assert row.license_class is not manifests.LicenseClass.UNKNOWN
        assert row.url.startswith("https://")
        assert row.reviewed or not licenses.is_known(row.id)
        assert all(text.read_in for text in row.texts)
        expressions.parse(row.id)


def test_a_local_row() -> None:
    """A platform team can add a text that it reviewed, and only that text is known then."""
    text = "Acme Community License\n\nDo as you like inside Acme."
    toml = f"""
    [[license]]
    id = "LicenseRef-Acme"
    name = "Acme"
    class = "CommunityRestricted"
    attribution = "No"
    url = "https://acme.example/license"
    texts = [{{ digest = "{license_texts.digest(text)}", read_in = "intranet" }}]
    """
    table = licenses.builtin().extended(licenses.Table.parse(toml))
    row = licenses.identify(text, table)
    assert row is not None
    assert licenses.conclude(None, row, table).expression == "LicenseRef-Acme"
    assert licenses.identify(text + " or not", table) is None
    assert licenses.identify(text) is None
    assert licenses.is_known("MIT", table)
