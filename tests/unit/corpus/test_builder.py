"""Complete builds with readers in memory: accounting, licenses, duplicates, split, equal bytes."""

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
from mens.runtime import errors
from mens_corpus import accounting, builder, jsonl
from mens_corpus.readers import base, local

LICENSE = (Path(__file__).parents[3] / "LICENSE").read_bytes()
"""The license of this project: Apache-2.0."""
HEADER = "# SPDX-License-Identifier: Apache-2.0\n"


class MemoryReader:
    """Documents in memory, listed in a random order if `rng` is given."""

    def __init__(self, documents: Mapping[str, bytes], rng: random.Random | None = None) -> None:
        self._documents = dict(documents)
        self._rng = rng
        self.uri = "memory:documents"

    def documents(self) -> Iterator[base.Document]:
        if not self._documents:
            raise base.SourceNotFoundError(
                reasons.SOURCE_NOT_FOUND, "the source is empty; add documents"
            )
        names = list(self._documents)
        if self._rng:
            self._rng.shuffle(names)
        yield from (base.Document(name, len(self._documents[name])) for name in names)

    def read(self, document: base.Document) -> bytes | None:
        data = self._documents[document.path]
        return data if len(data) <= base.DOCUMENT_LIMIT else None

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
    corpus_spec: corpus.MensCorpusSpec,
    documents: Mapping[str, Mapping[str, bytes]],
    rng: random.Random | None = None,
    name: str = "test",
    reader: base.Reader | None = None,
) -> builder.BuildResult:
    context = builder.BuildContext(
        open_reader=lambda source: reader or MemoryReader(documents.get(source.name, {}), rng),
        license_table=licenses.builtin(),
        scratch=into,
        producer="test",
        report_progress=lambda stage, done, total, rows: None,
    )
    return builder.build(name, corpus_spec, context)


def rows(built: builder.BuildResult, stem: str) -> list[dict[str, Any]]:
    return [orjson.loads(x) for x in jsonl.read_lines(built.folder / f"{stem}.jsonl.zst")]


def content(built: builder.BuildResult) -> dict[str, bytes]:
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


def test_row_has_all_fields(tmp_path: Path) -> None:
    """Every field that upstream tools and the trainer use, with license and location."""
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


def test_artifact_contains_licenses_notice_and_accounting(tmp_path: Path) -> None:
    """LICENSES/ contains the license text, NOTICE that of the source, and details the counts."""
    built = build(tmp_path, spec(), {"code": GOOD})
    files = content(built)
    assert files["LICENSES/Apache-2.0.txt"] == LICENSE
    assert b"This product is made of tests." in files["NOTICE"]
    assert built.draft.compliance.license_expression == "Apache-2.0"
    assert [item.license_expression for item in built.draft.inputs] == ["Apache-2.0"]
    assert built.draft.details["rows"] == {
        "train": built.train_rows,
        "validation": built.validation_rows,
    }
    assert built.train_rows + built.validation_rows == 4
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
def test_equal_documents_give_equal_bytes_and_balanced_accounting(
    first: dict[str, bytes],
    second: dict[str, bytes],
    licensed: bool,
    rng: random.Random,
    weight: str,
) -> None:
    """In any order of the documents; no group is in both splits, no candidate is lost."""
    documents = {"one": {"LICENSE": LICENSE, "z.py": function("z").encode(), **first}}
    documents["two"] = {**second, **({"LICENSE": LICENSE} if licensed else {})}
    corpus_spec = spec(
        source("one"), source("two", weight=weight), split={"validationFraction": "0.2"}
    )
    found: list[dict[str, bytes] | str] = []
    for each in (None, rng):
        with TemporaryDirectory() as scratch:
            try:
                built = build(Path(scratch), corpus_spec, documents, each)
            except errors.InvalidInputError as e:
                found.append(f"{e.reason}: {e}")
                continue
            found.append(content(built))
            _check_invariants(built)
    assert found[0] == found[1]


def _check_invariants(built: builder.BuildResult) -> None:
    built.counters.check_balance()
    train, validation = rows(built, "train"), rows(built, "validation")
    groups = [
        {(row["source"], row["metadata"]["path"]) for row in split} for split in (train, validation)
    ]
    assert not groups[0] & groups[1]
    texts = [(row["prompt"], row["response"]) for row in train + validation]
    assert len(texts) == len(set(texts))
    for split in (train, validation):
        ids = [row["id"] for row in split]
        assert ids == sorted(ids)
    assert len(texts) == built.counters.total(accounting.Outcome.EMITTED)
    quarantined = list(jsonl.read_lines(built.folder / "quarantine.jsonl.zst"))
    assert len(quarantined) == built.counters.total(accounting.Outcome.QUARANTINED)
    assert b"ABCDEFGH23456723" not in b"".join(quarantined)


def test_duplicate_in_the_earlier_source_is_kept(tmp_path: Path) -> None:
    """Even if the path in the later source sorts first."""
    corpus_spec = spec(source("second"), source("first"), split={"validationFraction": "0"})
    documents = {
        "second": {"z.py": (HEADER + function("same")).encode()},
        "first": {"a.py": (HEADER + function("same")).encode()},
    }
    built = build(tmp_path, corpus_spec, documents)
    assert [row["source"] for row in rows(built, "train")] == ["second"]
    assert built.counters["first"].outcomes[accounting.Outcome.DEDUPLICATED] == {"Exact": 1}
    assert [item.name for item in built.draft.inputs] == ["second"]


def reasons_of(built: builder.BuildResult, outcome: accounting.Outcome) -> dict[str, int]:
    return dict(built.counters["code"].outcomes[outcome])


@pytest.mark.parametrize(
    ("document", "outcome", "reason"),
    [
        (b"def broken(:\n", accounting.Outcome.QUARANTINED, "SyntaxError"),
        (b"x = '\xff'\n", accounting.Outcome.QUARANTINED, "NotDecodable"),
        (b"x" * (base.DOCUMENT_LIMIT + 1), accounting.Outcome.QUARANTINED, "TooLarge"),
        (b"x = 1\n", accounting.Outcome.FILTERED, "NothingFound"),
        (
            b"# SPDX-License-Identifier: LicenseRef-Own\n" + function("own").encode(),
            accounting.Outcome.QUARANTINED,
            "LicenseUnknown",
        ),
        (
            b"# SPDX-License-Identifier: GPL-3.0-only\n" + function("own").encode(),
            accounting.Outcome.QUARANTINED,
            "LicenseNotAllowed",
        ),
        (
            function("s", "x = 'AKIA" + "ABCDEFGH23456723'").encode(),
            accounting.Outcome.QUARANTINED,
            "SecretFound",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_excluded_document_is_accounted_for(
    tmp_path: Path, document: bytes, outcome: accounting.Outcome, reason: str
) -> None:
    """One bad document beside good ones: the build continues and counts its outcome."""
    built = build(tmp_path, spec(), {"code": GOOD | {"bad.py": document}})
    assert reasons_of(built, outcome) == {reason: 1}
    assert built.train_rows + built.validation_rows == 4


def test_selected_document_without_extractor_is_accounted_for(tmp_path: Path) -> None:
    """A pattern selects it, so it must appear in the accounting."""
    corpus_spec = spec(source(include=["**"]))
    built = build(tmp_path, corpus_spec, {"code": GOOD | {"data.csv": b"1,2"}})
    assert reasons_of(built, accounting.Outcome.FILTERED) == {
        "NoExtractor": 3
    }  # LICENSE and NOTICE too


def test_quarantine_contains_no_text_of_candidates(tmp_path: Path) -> None:
    """It is published: only the location of a secret in a heading or name, not the secret."""
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


def test_license_class_that_is_not_allowed_is_quarantined(tmp_path: Path) -> None:
    """If all rows are quarantined, the build fails with that reason."""
    corpus_spec = spec(licensePolicy={"allowClasses": ["Permissive"]})
    with pytest.raises(errors.InvalidInputError) as caught:
        build(tmp_path, corpus_spec, {"code": GOOD})
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
def test_empty_corpus_reports_its_cause(
    tmp_path: Path, fields: dict[str, Any], documents: dict[str, bytes], reason: str
) -> None:
    """A specific reason, and a message with the next step."""
    with pytest.raises(errors.InvalidInputError) as caught:
        build(tmp_path, spec(source(**fields)), {"code": documents})
    assert caught.value.reason == reason
    assert ";" in str(caught.value)
    assert 'validationFraction to "0"' not in str(caught.value), "no run can use such a corpus"


def test_missing_optional_source_is_skipped(tmp_path: Path) -> None:
    """The accounting records the reason."""
    corpus_spec = spec(source(), source("more", optional=True))
    built = build(tmp_path, corpus_spec, {"code": GOOD})
    assert built.counters["more"].skipped == reasons.SOURCE_NOT_FOUND
    assert "skipped: SourceNotFound" in accounting.format_table(built.counters.to_object())


def test_declaration_applies_if_the_text_is_unreviewed(tmp_path: Path) -> None:
    """The artifact includes the text as LicenseRef-Unreviewed, and training is allowed."""
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


def test_unreadable_license_file_blocks_its_documents(tmp_path: Path) -> None:
    """Even with a declaration, because the text is missing; the quarantine names the file."""
    too_large = b"x" * (base.DOCUMENT_LIMIT + 1)
    vendor = {"vendor/LICENSE": too_large, "vendor/v.py": function("v").encode()}
    corpus_spec = spec(source(license="Apache-2.0"))
    built = build(tmp_path / "a", corpus_spec, {"code": GOOD | vendor})
    assert reasons_of(built, accounting.Outcome.QUARANTINED) == {reasons.LICENSE_UNKNOWN: 1}
    (line,) = jsonl.read_lines(built.folder / "quarantine.jsonl.zst")
    assert orjson.loads(line)["message"].startswith(
        "the license file vendor/LICENSE cannot be read (more than 4194304 bytes); "
    )
    without = spec(source(license="Apache-2.0", exclude=["vendor/LICENSE"]))
    assert (
        build(tmp_path / "b", without, {"code": GOOD | vendor}).train_rows == built.train_rows + 1
    )
    with pytest.raises(errors.InvalidInputError, match="NOTICE cannot be read") as caught:
        build(tmp_path / "c", corpus_spec, {"code": GOOD | {"NOTICE": too_large}})
    assert caught.value.reason == reasons.SOURCE_INVALID


def test_license_file_can_be_a_link(tmp_path: Path) -> None:
    """It applies to its own folder, with the text of its target; a linked document counts once."""
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
    built = build(tmp_path / "out", spec(), {}, reader=local.LocalReader(root))
    assert built.draft.compliance.license_expression == "Apache-2.0"
    assert (built.train_rows, built.validation_rows) == (1, 1)
    assert built.counters["code"].documents == 3
    assert reasons_of(built, accounting.Outcome.QUARANTINED) == {reasons.LICENSE_UNKNOWN: 1}


def test_header_in_an_example_is_ignored(tmp_path: Path) -> None:
    """An example in Markdown does not license the document; a comment at its top does."""
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
    """Even if the names of the corpora differ: only the manifest contains the name."""
    first = build(tmp_path / "a", spec(), {"code": GOOD})
    second = build(tmp_path / "b", spec(), {"code": GOOD}, name="other")
    assert first.fingerprint == second.fingerprint
    assert first.draft.name != second.draft.name
    files = [content(built) for built in (first, second)]
    assert [found.pop("manifest") for found in files]
    assert files[0] == files[1]


def test_fingerprint_covers_all_inputs(tmp_path: Path) -> None:
    """Documents, license files, limits and seeds, but not resources of the pod."""
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


def test_fingerprint_is_independent_of_the_wording_of_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reworded message about an unreadable document must not change the fingerprint."""
    root = tmp_path / "source"
    (root / "lost").mkdir(parents=True)
    (root / "LICENSE").write_bytes(LICENSE)
    (root / "lost" / "LICENSE").symlink_to("/nowhere")
    for name in ("a", "b"):
        (root / f"{name}.py").write_text(function(name))
    first = build(tmp_path / "a", spec(), {}, reader=local.LocalReader(root))
    monkeypatch.setattr(base, "BROKEN_LINK", "other words")
    second = build(tmp_path / "b", spec(), {}, reader=local.LocalReader(root))
    assert second.fingerprint == first.fingerprint
