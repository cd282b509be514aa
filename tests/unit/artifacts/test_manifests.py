"""Facts about manifests: canonical bytes, strict reading, and every old one stays readable."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens.artifacts import digests, errors, layout, manifests, refs
from tests.support import manifests as some
from tests.support import memory_store

DATA = Path(__file__).parents[2] / "data" / "manifests"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DIGESTS = st.binary(min_size=1, max_size=4).map(digests.Digest.of_bytes)
FILES = st.lists(
    st.builds(
        # Hypothesis would fill in the aliases of a pydantic model too, so it must not see it.
        lambda **given: manifests.File(**given),  # noqa: PLW0108
        path=st.from_regex(r"[a-z]{1,6}\.[a-z]{1,3}", fullmatch=True),
        digest=DIGESTS,
        size_bytes=st.integers(0, 2**53 - 1),
    ),
    max_size=4,
    unique_by=lambda file: file.path,
)
MANIFESTS = st.builds(
    lambda name, details, files, inputs: some.draft(
        name, details=details, inputs=tuple(inputs)
    ).with_files(files),
    TEXT,
    st.dictionaries(TEXT, VALUES, max_size=3),
    FILES,
    st.lists(
        st.builds(
            lambda **given: manifests.Input(**given),  # noqa: PLW0108
            role=st.sampled_from(manifests.Role),
            name=TEXT,
            uri=TEXT,
            digest=DIGESTS,
            license_expression=TEXT,
        ),
        max_size=2,
    ),
)


@given(MANIFESTS)
def test_round_trip(manifest: manifests.Manifest) -> None:
    """Parsing what was written gives the same facts and the same bytes."""
    data = manifest.to_bytes()
    again = manifests.Manifest.parse(data)
    assert again == manifest
    assert again.to_bytes() == data
    assert again.digest == manifest.digest == digests.Digest.of_bytes(data)


@given(MANIFESTS, st.randoms(use_true_random=False))
def test_order_of_keys(manifest: manifests.Manifest, random: Any) -> None:
    """Neither the order of files nor of keys is part of an artifact's identity."""
    files = list(manifest.files)
    random.shuffle(files)
    details = list(manifest.details.items())
    random.shuffle(details)
    other = manifest.model_copy(update={"details": dict(details)}).with_files(files)
    assert other.digest == manifest.digest


@given(MANIFESTS)
def test_other_spellings_are_refused(manifest: manifests.Manifest) -> None:
    """The same JSON with other white space is not the same artifact, and is refused."""
    spelled = json.dumps(json.loads(manifest.to_bytes()), indent=1).encode()
    with pytest.raises(errors.ManifestInvalid, match="not canonical"):
        manifests.Manifest.parse(spelled)


def changed(**changes: Any) -> bytes:
    content = json.loads(some.draft().to_bytes()) | changes
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


FILE = {"path": "a", "digest": "sha256:" + "0" * 64, "sizeBytes": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":1,"a":1}', "not canonical"),
        (b"[]", "this version cannot read"),
        (b'{"a":"\\ud800"}', "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"null", "this version cannot read"),
        (changed(unknown=1), "unknown: Extra inputs"),
        (changed(schema="mens.artifact/v2"), "schema"),
        (changed(kind="Dataset"), "kind"),
        (changed(files=[FILE | {"path": "../x"}]), "files.0.path"),
        (changed(files=[FILE | {"path": "manifest.json"}]), "store's own file"),
        (changed(files=[FILE | {"digest": "md5:0"}]), "files.0.digest"),
        (changed(files=[FILE | {"digest": "sha256:" + "A" * 64}]), "files.0.digest"),
        (changed(files=[FILE | {"sizeBytes": -1}]), "files.0.sizeBytes"),
        (changed(files=[FILE, FILE]), "no path may occur twice"),
        (changed(files=[FILE | {"path": "b"}, FILE]), "sorted"),
        (changed(files=[FILE, FILE | {"path": "a/b"}]), "cannot be a file and a folder"),
    ],
)
def test_invalid(data: bytes, message: str) -> None:
    """Whatever is wrong with a manifest, it is ManifestInvalid and says what."""
    with pytest.raises(errors.ManifestInvalid, match=message) as caught:
        manifests.Manifest.parse(data)
    assert caught.value.reason == "ManifestInvalid"
    assert not caught.value.transient


@pytest.mark.parametrize("number", [math.nan, math.inf, 2**53])
def test_numbers_that_json_readers_differ_about(number: float) -> None:
    """A number without one meaning in JSON is not written."""
    with pytest.raises(errors.ManifestInvalid, match="cannot be written"):
        some.draft(details={"x": number}).to_bytes()


def test_the_uri_is_in_the_message() -> None:
    """Who reads many artifacts is told which one is wrong."""
    store = memory_store.MemoryStore(["mens"])
    folder = refs.Uri("mens", "models/x/1")
    store.put_bytes(layout.manifest(folder), b"{}")
    with pytest.raises(
        errors.ManifestInvalid, match="models/x/1: this version cannot read the manifest"
    ):
        manifests.read(store, folder)


@pytest.mark.parametrize("path", sorted(DATA.glob("v1-*.json")), ids=lambda path: path.stem)
def test_released_manifests_stay_readable(path: Path) -> None:
    """Every manifest that a release wrote is read, with the digest it always had."""
    expected = json.loads((DATA / "digests.json").read_text())[path.name]
    data = path.read_bytes()
    assert digests.Digest.of_bytes(data) == expected
    manifest = manifests.Manifest.parse(data)
    assert manifest.to_bytes() == data, "this version still writes the bytes of v1"
    assert manifest.files


def test_there_are_released_manifests() -> None:
    """The fixtures hold one manifest of each kind."""
    kinds = {manifests.Manifest.parse(p.read_bytes()).kind for p in DATA.glob("v1-*.json")}
    assert kinds == set(manifests.Kind)
