"""Whole builds over trees in memory: accounting, licenses, duplicates, split, equal bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mens.api import corpus, kube, reasons
from mens.artifacts import manifests, publisher
from mens.provenance import clearance, licenses
from mens_corpus import accounting, builder, errors, jsonl
from mens_corpus.readers import local, trees

LICENSE = (Path(__file__).parents[3] / "LICENSE").read_bytes()
"""The project's own: Apache-2.0."""
HEADER = "# SPDX-License-Identifier: Apache-2.0\n"


class MemoryTree:
    """Documents in memory, listed in an order of the test's choice."""

    def __init__(self, documents: Mapping[str, bytes], chance: random.Random | None = None) -> None:
        self._documents = dict(documents)
        self._chance = chance
        self.uri = "memory:tree"

    def entries(self) -> Iterator[trees.Entry]:
        if not self._documents:
            raise errors.SourceMissing(reasons.SOURCE_NOT_FOUND, "there is nothing; add it")
        names = list(self._documents)
        if self._chance:
            self._chance.shuffle(names)
        yield from (trees.Entry(name, len(self._documents[name])) for name in names)

    def read(self, entry: trees.Entry) -> bytes | None:
        data = self._documents[entry.path]
        return data if len(data) <= trees.DOCUMENT_LIMIT else None

    def close(self) -> None:
        pass


def function(name: str, body: str = "return 1") -> str:
    return f'def {name}(a):\n    """Do {name}."""\n    {body}\n\n'


def source(name: str = "code", **fields: Any) -> dict[str, Any]:
    uri = {"uri": f"s3://bucket/{name}/"}
    return {"name": name, "s3": uri, "extract": ["PythonFunctions", "MarkdownSections"]} | fields


def spec(*sources: dict[str, Any], **fields: Any) -> corpus.MensCorpusSpec:
    return kube.parse(corpus.MensCorpusSpec, {"sources": list(sources or [source()])} | fields)


def build(
    into: Path,
    wanted: corpus.MensCorpusSpec,
    documents: Mapping[str, Mapping[str, bytes]],
    chance: random.Random | None = None,
    name: str = "test",
    tree: trees.Tree | None = None,
) -> builder.Built:
    around = builder.Surroundings(
        open_tree=lambda source: tree or MemoryTree(documents.get(source.name, {}), chance),
        table=licenses.builtin(),
        scratch=into,
        producer="test",
        report=lambda stage, done, total, rows: None,
    )
    return builder.build(name, wanted, around)


def rows(built: builder.Built, stem: str) -> list[dict[str, Any]]:
    return [orjson.loads(x) for x in jsonl.read_lines(built.folder / f"{stem}.jsonl.zst")]


def content(built: builder.Built) -> dict[str, bytes]:
    """Every byte of the artifact, the manifest included."""
    local = list(publisher.local_files(built.folder))
    manifest = built.draft.with_files(publisher.describe(name, path) for name, path in local)
    return {name: path.read_bytes() for name, path in local} | {"manifest": manifest.to_bytes()}


GOOD = {
    "LICENSE": LICENSE,
    "NOTICE": b"This product is made of tests.\n",
    "a.py": (function("one") + function("two")).encode(),
    "b/b.py": function("three").encode(),
    "b/c.md": b"# Title\n\nA body that is long enough to answer a question about it.\n",
}


def test_a_row_has_the_fields_of_the_lanes(tmp_path: Path) -> None:
    """Every field that upstream's readers and ours rely on, with license and place."""
    built = build(tmp_path, spec(), {"code": GOOD})
    (row,) = [
        row
        for row in rows(built, "train") + rows(built, "validation")
        if "three" in row["response"]
    ]
    assert row.pop("id")
    assert row["metadata"].pop("document")
    assert row == {
        "prompt": "Describe this function.\n\n```python\ndef three(a):\n    return 1\n```",
        "response": '{"name":"three","params":["a"],"summary":"Do three."}',
        "lane": "vox_docs_qa",
        "category": "python_function",
        "task_family": "describe_function",
        "origin": "human",
        "source": "code",
        "schema_version": "mens.row/v1",
        "license": "Apache-2.0",
        "metadata": {
            "path": "b/b.py",
            "qualname": "three",
            "line": 1,
            "license_evidence": "File",
        },
    }


def test_the_artifact_carries_license_notice_and_counts(tmp_path: Path) -> None:
    """LICENSES/ holds the captured text, NOTICE the source's own words, details the counts."""
    built = build(tmp_path, spec(), {"code": GOOD})
    files = content(built)
    assert files["LICENSES/Apache-2.0.txt"] == LICENSE
    assert b"This product is made of tests." in files["NOTICE"]
    assert built.draft.compliance.license_expression == "Apache-2.0"
    assert [item.license_expression for item in built.draft.inputs] == ["Apache-2.0"]
    assert built.draft.details["rows"] == {"train": built.train, "validation": built.validation}
    assert built.train + built.validation == 4
    assert built.draft.details["fingerprint"] == str(built.fingerprint)


WORDS = st.sampled_from([f"f{number}" for number in range(12)])
DOCUMENT = st.one_of(
    st.lists(WORDS, max_size=4).map(lambda names: "".join(map(function, names))),
    st.sampled_from(["def broken(:\n", "x = 1\n", function("_private"), HEADER + function("spdx")]),
    st.just(
        "key = 'AKIA" + "ABCDEFGH23456723'\n" + function("s", "x = 'AKIA" + "ABCDEFGH23456723'")
    ),
).map(str.encode)
TREE = st.dictionaries(
    st.sampled_from([f"d{n % 3}/m{n}.py" for n in range(9)]), DOCUMENT, min_size=3
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    TREE, TREE, st.booleans(), st.randoms(use_true_random=False), st.sampled_from(["1.0", "0.5"])
)
def test_equal_documents_give_equal_bytes_and_balanced_accounts(
    first: dict[str, bytes],
    second: dict[str, bytes],
    licensed: bool,
    chance: random.Random,
    weight: str,
) -> None:
    """In whatever order a tree lists its documents; no group on both sides, nothing lost."""
    documents = {"one": {"LICENSE": LICENSE, "z.py": function("z").encode(), **first}}
    documents["two"] = {**second, **({"LICENSE": LICENSE} if licensed else {})}
    wanted = spec(source("one"), source("two", weight=weight), split={"validationFraction": "0.2"})
    found: list[dict[str, bytes] | str] = []
    for order in (None, chance):
        with TemporaryDirectory() as scratch:
            try:
                built = build(Path(scratch), wanted, documents, order)
            except errors.InputWrong as e:
                found.append(f"{e.reason}: {e}")
                continue
            found.append(content(built))
            _check_laws(built)
    assert found[0] == found[1]


def _check_laws(built: builder.Built) -> None:
    built.ledger.check()
    train, validation = rows(built, "train"), rows(built, "validation")
    groups = [
        {(row["source"], row["metadata"]["path"]) for row in side} for side in (train, validation)
    ]
    assert not groups[0] & groups[1]
    texts = [(row["prompt"], row["response"]) for row in train + validation]
    assert len(texts) == len(set(texts))
    for side in (train, validation):
        ids = [row["id"] for row in side]
        assert ids == sorted(ids)
    assert len(texts) == built.ledger.total(accounting.Fate.EMITTED)
    quarantined = list(jsonl.read_lines(built.folder / "quarantine.jsonl.zst"))
    assert len(quarantined) == built.ledger.total(accounting.Fate.QUARANTINED)
    assert b"ABCDEFGH23456723" not in b"".join(quarantined)


def test_of_equal_rows_the_earlier_source_keeps_its_own(tmp_path: Path) -> None:
    """Also where the later source has the smaller path."""
    wanted = spec(source("second"), source("first"), split={"validationFraction": "0"})
    documents = {
        "second": {"z.py": (HEADER + function("same")).encode()},
        "first": {"a.py": (HEADER + function("same")).encode()},
    }
    built = build(tmp_path, wanted, documents)
    assert [row["source"] for row in rows(built, "train")] == ["second"]
    assert built.ledger["first"].fates[accounting.Fate.DEDUPLICATED] == {"Exact": 1}
    assert [item.name for item in built.draft.inputs] == ["second"]


def fates(built: builder.Built, fate: accounting.Fate) -> dict[str, int]:
    return dict(built.ledger["code"].fates[fate])


@pytest.mark.parametrize(
    ("document", "fate", "reason"),
    [
        (b"def broken(:\n", accounting.Fate.QUARANTINED, "SyntaxError"),
        (b"x = '\xff'\n", accounting.Fate.QUARANTINED, "NotDecodable"),
        (b"x" * (trees.DOCUMENT_LIMIT + 1), accounting.Fate.QUARANTINED, "TooLarge"),
        (b"x = 1\n", accounting.Fate.FILTERED, "NothingFound"),
        (
            b"# SPDX-License-Identifier: LicenseRef-Own\n" + function("own").encode(),
            accounting.Fate.QUARANTINED,
            "LicenseUnknown",
        ),
        (
            b"# SPDX-License-Identifier: GPL-3.0-only\n" + function("own").encode(),
            accounting.Fate.QUARANTINED,
            "LicenseNotAllowed",
        ),
        (
            function("s", "x = 'AKIA" + "ABCDEFGH23456723'").encode(),
            accounting.Fate.QUARANTINED,
            "SecretFound",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_left_out_is_accounted_for(
    tmp_path: Path, document: bytes, fate: accounting.Fate, reason: str
) -> None:
    """One bad document beside good ones: the build goes on and says what became of it."""
    built = build(tmp_path, spec(), {"code": GOOD | {"bad.py": document}})
    assert fates(built, fate) == {reason: 1}
    assert built.train + built.validation == 4


def test_a_named_document_that_nothing_understands_is_accounted_for(tmp_path: Path) -> None:
    """It was asked for by a pattern, so it must not vanish."""
    wanted = spec(source(include=["**"]))
    built = build(tmp_path, wanted, {"code": GOOD | {"data.csv": b"1,2"}})
    assert fates(built, accounting.Fate.FILTERED) == {"NoExtractor": 3}  # LICENSE and NOTICE too


def test_the_quarantine_never_quotes_what_it_sets_aside(tmp_path: Path) -> None:
    """It is published: a secret in a heading or a name is not in it, only where to look."""
    key = b"AKIA" + b"ABCDEFGH23456723"
    body = b"A body that is long enough to answer a question about it.\n"
    documents = {**GOOD, "b/d.md": b"# Use key " + key + b" now\n\n" + body}
    documents["d.py"] = function("do_" + key.decode().lower(), f"x = {key.decode()!r}").encode()
    built = build(tmp_path, spec(), {"code": documents})
    found = [orjson.loads(line) for line in jsonl.read_lines(built.folder / "quarantine.jsonl.zst")]
    assert [(entry["path"], entry["reason"], entry["line"]) for entry in found] == [
        ("b/d.md", "SecretFound", 1),
        ("d.py", "SecretFound", 1),
    ]
    keys = {"source", "path", "reason", "message", "document", "line"}
    assert all(set(entry) == keys for entry in found)
    for path in built.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            text = b"".join(jsonl.read_lines(path)) if path.suffix == ".zst" else data
            assert key.lower() not in text.lower(), path


def test_a_class_that_is_not_allowed_is_quarantined(tmp_path: Path) -> None:
    """With only such rows the build fails with that reason."""
    wanted = spec(licensePolicy={"allowClasses": ["Permissive"]})
    with pytest.raises(errors.InputWrong) as caught:
        build(tmp_path, wanted, {"code": GOOD})
    assert caught.value.reason == reasons.LICENSE_NOT_ALLOWED


BAD: list[tuple[str, dict[str, Any], dict[str, bytes], str]] = [
    ("missing", {}, {}, reasons.SOURCE_NOT_FOUND),
    ("unlicensed", {}, {"a.py": function("a").encode()}, reasons.LICENSE_UNKNOWN),
    ("no rows", {}, {"LICENSE": LICENSE, "a.py": b"x = 1\n"}, reasons.EMPTY_CORPUS),
    ("unselected", {"include": ["nothing/**"]}, GOOD, reasons.SOURCE_INVALID),
    (
        "one document",
        {"license": "Apache-2.0"},
        {"a.py": function("a").encode()},
        reasons.NO_VALIDATION_ROWS,
    ),
    ("disagreeing", {"license": "MIT"}, GOOD, reasons.LICENSE_UNKNOWN),
    ("nonsense", {"license": "((("}, {"a.py": function("a").encode()}, reasons.LICENSE_UNKNOWN),
]


@pytest.mark.parametrize(
    ("fields", "documents", "reason"), [x[1:] for x in BAD], ids=[x[0] for x in BAD]
)
def test_a_build_without_rows_says_why(
    tmp_path: Path, fields: dict[str, Any], documents: dict[str, bytes], reason: str
) -> None:
    """One reason each, and a message with the next step."""
    with pytest.raises(errors.InputWrong) as caught:
        build(tmp_path, spec(source(**fields)), {"code": documents})
    assert caught.value.reason == reason
    assert ";" in str(caught.value)
    assert 'validationFraction to "0"' not in str(caught.value), "no run can use such a corpus"


def test_an_optional_source_may_be_missing(tmp_path: Path) -> None:
    """It is left out and the accounting says so."""
    wanted = spec(source(), source("more", optional=True))
    built = build(tmp_path, wanted, {"code": GOOD})
    assert built.ledger["more"].skipped == reasons.SOURCE_NOT_FOUND
    assert "skipped: SourceNotFound" in accounting.table(built.ledger.to_object())


def test_a_declaration_counts_where_the_text_is_unknown(tmp_path: Path) -> None:
    """The unknown text travels under a name of its own, and whoever trains on it is content."""
    documents = {
        "LICENSE": b"Do what is right.\n",
        "a.py": function("a").encode(),
        "b.py": function("b").encode(),
    }
    built = build(tmp_path, spec(source(license="Apache-2.0")), {"code": documents})
    (held,) = built.draft.compliance.licenses
    files = content(built)
    assert held.id.startswith("LicenseRef-Unreviewed-")
    assert held.path == f"LICENSES/{held.id}.txt"
    assert files[held.path] == b"Do what is right.\n"
    assert held.path.encode() in files["NOTICE"]
    assert rows(built, "train")[0]["metadata"]["license_evidence"] == "Declared"
    assert built.draft.compliance.license_expression == "Apache-2.0"
    manifest = manifests.Manifest.parse(files["manifest"])
    judged = clearance.judge(manifest, captured={held.path: files[held.path]})
    assert (judged.ok, judged.reason) == (True, reasons.LICENSE_CLEARED)


def test_a_license_file_that_cannot_be_read_blocks_what_it_covers(tmp_path: Path) -> None:
    """Also with a declaration, since its text cannot travel; the quarantine names the file."""
    too_large = b"x" * (trees.DOCUMENT_LIMIT + 1)
    vendor = {"vendor/LICENSE": too_large, "vendor/v.py": function("v").encode()}
    wanted = spec(source(license="Apache-2.0"))
    built = build(tmp_path / "a", wanted, {"code": GOOD | vendor})
    assert fates(built, accounting.Fate.QUARANTINED) == {reasons.LICENSE_UNKNOWN: 1}
    (line,) = jsonl.read_lines(built.folder / "quarantine.jsonl.zst")
    assert orjson.loads(line)["message"].startswith(
        "the license file vendor/LICENSE cannot be read (more than 4194304 bytes); "
    )
    without = spec(source(license="Apache-2.0", exclude=["vendor/LICENSE"]))
    assert build(tmp_path / "b", without, {"code": GOOD | vendor}).train == built.train + 1
    with pytest.raises(errors.InputWrong, match="NOTICE cannot be read") as caught:
        build(tmp_path / "c", wanted, {"code": GOOD | {"NOTICE": too_large}})
    assert caught.value.reason == reasons.SOURCE_INVALID


def test_a_license_file_may_be_a_link(tmp_path: Path) -> None:
    """It counts where it stands, with the text it leads to; a linked document counts once."""
    root = tmp_path / "tree"
    (root / "legal").mkdir(parents=True)
    (root / "src").mkdir()
    (root / "legal" / "apache").write_bytes(LICENSE)
    (root / "src" / "LICENSE").symlink_to("../legal/apache")
    for name in ("a", "b"):
        (root / "src" / f"{name}.py").write_text(function(name))
    (root / "src" / "c.py").symlink_to("a.py")
    (root / "lost").mkdir()
    (root / "lost" / "LICENSE").symlink_to("/nowhere")
    (root / "lost" / "d.py").write_text(function("d"))
    built = build(tmp_path / "out", spec(), {}, tree=local.FolderTree(root))
    assert built.draft.compliance.license_expression == "Apache-2.0"
    assert (built.train, built.validation) == (1, 1)
    assert built.ledger["code"].documents == 3
    assert fates(built, accounting.Fate.QUARANTINED) == {reasons.LICENSE_UNKNOWN: 1}


def test_a_header_in_an_example_is_no_header(tmp_path: Path) -> None:
    """Markdown that explains SPDX is not licensed by its example; a comment at its top counts."""
    line = b"    SPDX-License-Identifier: MIT\n"
    body = b"# T\n\nWrite this line into your files, and nothing else:\n\n" + line
    comment = b"<!--\nSPDX-License-Identifier: Apache-2.0\n-->\n" + body.replace(
        b"files", b"documents"
    )
    documents = GOOD | {"x.md": body, "y.md": comment}
    built = build(tmp_path, spec(split={"validationFraction": "0"}), {"code": documents})
    evidence = {
        row["metadata"]["path"]: row["metadata"]["license_evidence"] for row in rows(built, "train")
    }
    assert (evidence["x.md"], evidence["y.md"]) == ("File", "Header")


def test_equal_fingerprints_mean_equal_files(tmp_path: Path) -> None:
    """Also where two corpora have different names: what differs is named in the manifest alone."""
    first = build(tmp_path / "a", spec(), {"code": GOOD})
    second = build(tmp_path / "b", spec(), {"code": GOOD}, name="other")
    assert first.fingerprint == second.fingerprint
    assert first.draft.name != second.draft.name
    files = [content(built) for built in (first, second)]
    assert [found.pop("manifest") for found in files]
    assert files[0] == files[1]


def test_the_fingerprint_follows_everything_that_counts(tmp_path: Path) -> None:
    """Documents, license files, limits and seeds; not what the pod asks for."""
    variants = [
        build(tmp_path / "a", spec(), {"code": GOOD}),
        build(tmp_path / "b", spec(), {"code": GOOD | {"a.py": function("other").encode()}}),
        build(tmp_path / "c", spec(), {"code": GOOD | {"NOTICE": b"Other words.\n"}}),
        build(tmp_path / "d", spec(source(maxCharacters=300)), {"code": GOOD}),
        build(tmp_path / "e", spec(split={"seed": 18}), {"code": GOOD}),
    ]
    assert len({built.fingerprint for built in variants}) == len(variants)
    resources = {"cpu": "2", "memory": "1Gi"}
    same = build(tmp_path / "f", spec(resources=resources), {"code": GOOD})
    assert same.fingerprint == variants[0].fingerprint
    assert content(same) == content(variants[0])
