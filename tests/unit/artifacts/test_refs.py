"""Facts about names, URIs and digests: what is not plainly harmless is refused."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens.artifacts import digests, errors, layout, names, refs

DIGEST = digests.Digest.of_bytes(b"x")


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://mens", "mens", ""),
        ("s3://mens/", "mens", ""),
        ("s3://mens/a/b.json", "mens", "a/b.json"),
        ("s3://mens/a/b/", "mens", "a/b"),
        ("s3://my.bucket-1/Größe é", "my.bucket-1", "Größe é"),
    ],
)
def test_uris(text: str, bucket: str, key: str) -> None:
    """A URI is a bucket and a key; one trailing slash means the same folder."""
    uri = refs.Uri.parse(text)
    assert (uri.bucket, uri.key) == (bucket, key)
    assert refs.Uri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://mens/a",
        "mens/a",
        "s3://",
        "s3:///a",
        "s3://UPPER/a",
        "s3://a..b/c",
        "s3://ab/c",
        "s3://mens//a",
        "s3://mens/a//",
        "s3://mens/../a",
        "s3://mens/a/./b",
        "s3://mens/a\\b",
        "s3://mens/a\0b",
        "s3://mens/a\nb",
        "s3://mens/\u202egnp",
        "s3://user:secret@mens/a",
        "s3://mens/" + "a" * 256,
        "s3://mens/" + "a/" * 600,
    ],
)
def test_refused_uris(text: str) -> None:
    """Anything that could be read in two ways is refused."""
    with pytest.raises(errors.NameRefused):
        refs.Uri.parse(text)


@given(st.text(max_size=30))
def test_a_joined_name_stays_below(name: str) -> None:
    """Whatever name is joined, the result lies below the folder, or the name is refused."""
    folder = refs.Uri("mens", "a/b")
    try:
        uri = folder / name
    except errors.NameRefused:
        return
    assert uri.below(folder) == name
    assert refs.Uri.parse(str(uri)) == uri


@given(st.text(max_size=30))
def test_a_relative_path_stays_below(name: str) -> None:
    """Whatever path passes, a file of that name lies inside its folder."""
    try:
        names.relative(name)
    except errors.NameRefused:
        return
    base = Path("/nowhere/folder")
    target = base / name
    assert target != base
    assert ".." not in target.parts
    assert target.is_relative_to(base)


def test_below_refuses_neighbours() -> None:
    """A key that only begins alike is not below."""
    with pytest.raises(ValueError, match="does not lie below"):
        refs.Uri("mens", "ab/c").below(refs.Uri("mens", "a"))


def test_layout() -> None:
    """Keys are where the documentation says."""
    bucket = refs.Uri("mens")
    hex_ = DIGEST.hex
    assert str(layout.blob(bucket / "x", DIGEST)) == f"s3://mens/blobs/sha256/{hex_[:2]}/{hex_}"
    assert str(layout.model(bucket, "smollm2", "1")) == "s3://mens/models/smollm2/1"
    assert str(layout.corpus(bucket, "u", "k")) == "s3://mens/corpora/u/k"
    assert str(layout.run(bucket, "u", "k")) == "s3://mens/runs/u/k"
    assert str(layout.progress(bucket / "x")) == "s3://mens/x/progress.json"
    with pytest.raises(errors.NameRefused):
        layout.run(bucket, "u", "../../models/evil")


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_hashing_in_pieces(pieces: list[bytes]) -> None:
    """However bytes are cut into chunks, their digest and size are the same."""
    hasher = digests.Hasher()
    assert b"".join(hasher.through(pieces)) == b"".join(pieces)
    assert hasher.digest() == digests.Digest.of_bytes(b"".join(pieces))
    assert hasher.size == sum(map(len, pieces))


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "g" * 64, DIGEST.upper(), DIGEST + "\n", "md5:" + "0" * 32]
)
def test_refused_digests(text: str) -> None:
    """There is one spelling of a digest."""
    with pytest.raises(errors.NameRefused, match="is not a digest"):
        digests.Digest.parse(text)


def test_a_reference_is_json() -> None:
    """A reference goes through JSON as two strings, and a bad one is pydantic's error."""
    ref = refs.ArtifactRef(uri=refs.Uri("mens", "a"), digest=DIGEST)
    assert ref.model_dump(mode="json") == {"uri": "s3://mens/a", "digest": DIGEST}
    assert refs.ArtifactRef.model_validate_json(ref.model_dump_json()) == ref
    assert refs.ArtifactRef.model_validate(ref.model_dump()) == ref
    assert str(ref) == f"s3://mens/a@{DIGEST}"
    with pytest.raises(pydantic.ValidationError, match="not an S3 URI"):
        refs.ArtifactRef.model_validate({"uri": "file:///etc", "digest": DIGEST})
