"""Facts about the lattice of obligations, and what is carried along."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens.artifacts import digests, errors, manifests
from mens.provenance import clearance, licenses, notice, obligations
from tests.support import manifests as some
from tests.unit.provenance.test_licenses import MIT

ROWS = [row for row in licenses.builtin().rows if row.reviewed]
TEXTS = st.sampled_from([b"one text", b"another text", b"Copyright (c) 2020 Ada"])
ATOMS = st.one_of(
    st.builds(
        lambda row, held: obligations.of(licenses.conclude(None, row), held),
        st.sampled_from(ROWS),
        st.lists(TEXTS, max_size=2, unique=True),
    ),
    st.just(obligations.unknown()),
)
COMPLIANCES = st.lists(ATOMS, min_size=1, max_size=3).map(obligations.join)
PARENTS = st.lists(COMPLIANCES, min_size=1, max_size=4)


@given(PARENTS)
def test_order(parents: list[manifests.Compliance]) -> None:
    """The order of parents does not matter."""
    for order in itertools.permutations(parents):
        assert obligations.join(order) == obligations.join(parents)


@given(COMPLIANCES)
def test_idempotent(one: manifests.Compliance) -> None:
    """Something joined with itself is itself."""
    assert obligations.join([one, one]) == one == obligations.join([one])


@given(PARENTS, COMPLIANCES)
def test_steps(parents: list[manifests.Compliance], other: manifests.Compliance) -> None:
    """Joining in two steps, as fine-tuning and then merging does, is joining at once."""
    assert obligations.join([obligations.join(parents), other]) == obligations.join(
        [*parents, other]
    )


@given(PARENTS, COMPLIANCES)
def test_monotone(parents: list[manifests.Compliance], other: manifests.Compliance) -> None:
    """A further parent takes away no obligation and no text, and lowers no class."""
    before, after = obligations.join(parents), obligations.join([*parents, other])
    assert set(before.obligations) <= set(after.obligations)
    assert {(held.id, held.text_digest) for held in before.licenses} <= {
        (held.id, held.text_digest) for held in after.licenses
    }
    assert before.license_class.rank <= after.license_class.rank
    order = ["No", "Conditional", "Yes"]
    assert order.index(before.attribution_required) <= order.index(after.attribution_required)


def test_nothing() -> None:
    """What is made of nothing has no license; that is a defect of the caller."""
    with pytest.raises(ValueError, match="made of nothing"):
        obligations.join([])


def test_unknown_wins() -> None:
    """One unknown parent makes the whole unknown, and the known obligations stay."""
    known = obligations.of(licenses.declare("Apache-2.0"))
    joined = obligations.join([known, obligations.unknown()])
    assert joined.license_expression == "NOASSERTION"
    assert joined.license_class is manifests.LicenseClass.UNKNOWN
    assert set(joined.obligations) == set(known.obligations)


def test_more_licenses_than_anyone_reads() -> None:
    """An expression too long for a resource's status is unknown, not cut off."""
    mit = obligations.of(licenses.declare("MIT"))
    many = [
        mit.model_copy(update={"license_expression": f"LicenseRef-{number:040d}"})
        for number in range(30)
    ]
    joined = obligations.join(many)
    assert joined.license_expression == "NOASSERTION"
    assert joined.license_class is manifests.LicenseClass.UNKNOWN


@pytest.mark.parametrize(
    ("declared", "class_", "attribution"),
    [
        ("CC0-1.0", "Permissive", "No"),
        ("Apache-2.0", "PermissiveWithAttribution", "Conditional"),
        ("PSF-2.0", "PermissiveWithAttribution", "Conditional"),
        ("MIT AND GPL-3.0-only", "Copyleft", "Conditional"),
    ],
)
def test_classes(declared: str, class_: str, attribution: str) -> None:
    """The class is that of the license that asks most."""
    found = obligations.of(licenses.declare(declared))
    assert (found.license_class, found.attribution_required) == (class_, attribution)


def test_kinds_are_known() -> None:
    """Every obligation in the table is of a kind and under a condition that others can act on."""
    for row in licenses.builtin().rows:
        for each in row.obligations:
            obligations.Kind(each.kind)
            assert each.condition in {"always", "onDistribution", "onHosting"}
            assert each.id.startswith(row.id + "/")
        assert len({each.id for each in row.obligations}) == len(row.obligations)


def test_the_text_is_evidence() -> None:
    """With a captured text each obligation names the text it comes from."""
    row = licenses.identify(MIT)
    found = obligations.of(licenses.conclude(None, row), [MIT.encode()])
    assert row is not None
    assert {each.source.text_digest for each in found.obligations} <= {
        text.digest for text in row.texts
    }
    assert [held.path for held in found.licenses] == ["LICENSES/MIT.txt"]
    assert found.licenses[0].text_digest == digests.Digest.of_bytes(MIT.encode())


def test_two_holders_are_two_texts() -> None:
    """Two MIT texts with two holders are both carried, under paths that name the text."""
    grace = MIT.replace("Ada Lovelace", "Grace Hopper")
    parents = [
        obligations.of(licenses.conclude(None, licenses.identify(text)), [text.encode()])
        for text in (MIT, grace)
    ]
    joined = obligations.join(parents)
    assert len({held.path for held in joined.licenses}) == 2
    assert joined.license_expression == "MIT"
    captured = {digests.Digest.of_bytes(text.encode()): text.encode() for text in (MIT, grace)}
    files = notice.assemble("both", joined, captured)
    assert set(files) == {"NOTICE", *(held.path for held in joined.licenses)}
    assert b"Ada Lovelace" in files["NOTICE"]
    assert b"Grace Hopper" in files["NOTICE"]
    assert set(files.values()) > set(captured.values())


def test_notice_is_deterministic(tmp_path: Path) -> None:
    """The same facts give the same bytes, and they say upstream, inputs and obligations."""
    compliance = obligations.of(licenses.conclude(None, licenses.identify(MIT)), [MIT.encode()])
    captured = {digests.Digest.of_bytes(MIT.encode()): MIT.encode()}
    upstream = manifests.Upstream(family="tiny", model_id="acme/tiny", revision="1")
    base = manifests.Input(
        role=manifests.Role.BASE,
        name="acme/tiny",
        uri="s3://mens/models/tiny/1",
        digest=digests.Digest.of_bytes(b""),
        license_expression="MIT",
    )
    files = notice.assemble("mine", compliance, captured, inputs=[base], upstream=upstream)
    assert files == notice.assemble("mine", compliance, captured, inputs=[base], upstream=upstream)
    text = files["NOTICE"].decode()
    for word in (
        "acme/tiny (tiny), 1",
        "Base: acme/tiny (MIT)",
        "[MIT paragraph 2; onDistribution]",
    ):
        assert word in text
    notice.write(tmp_path, files)
    assert (tmp_path / "LICENSES/MIT.txt").read_bytes() == MIT.encode()


def test_notice_needs_the_captured_text() -> None:
    """A license text that is missing or was changed on the way is refused."""
    compliance = obligations.of(licenses.conclude(None, licenses.identify(MIT)), [MIT.encode()])
    digest = digests.Digest.of_bytes(MIT.encode())
    for captured in ({}, {digest: b"rewritten"}):
        with pytest.raises(errors.DigestMismatch, match="text of MIT"):
            notice.assemble("mine", compliance, captured)


def model(text: str = MIT, *, declared: str | None = None) -> manifests.Manifest:
    data = text.encode()
    compliance = obligations.of(licenses.conclude(declared, licenses.identify(text)), [data])
    files = [
        manifests.File(path=held.path, digest=held.text_digest, size_bytes=len(data))
        for held in compliance.licenses
    ]
    return some.draft(compliance=compliance).with_files(files)


def test_a_good_base() -> None:
    """A model with a reviewed text may be built on."""
    base = model()
    captured = {"LICENSES/MIT.txt": MIT.encode()}
    for found in (clearance.judge(base), clearance.judge(base, captured=captured)):
        assert found == clearance.Judgment(True, "LicenseCleared", "Model 'tiny' is under MIT")


def test_an_unknown_base() -> None:
    """A model whose text nobody reviewed is refused, with the next step."""
    found = clearance.judge(model("Some license of our own."))
    assert (found.ok, found.reason) == (False, "LicenseUnknown")
    assert "mens model import --license-file" in found.message
    assert "to a folder of its own" in found.message


def test_a_class_that_is_not_allowed() -> None:
    """A known license of another class is refused for that reason."""
    found = clearance.judge(model(), allowed=[manifests.LicenseClass.PERMISSIVE])
    assert (found.ok, found.reason) == (False, "LicenseNotAllowed")
    assert "policy allows Permissive" in found.message


def lied(**changes: object) -> manifests.Manifest:
    honest = model()
    return honest.model_copy(update={"compliance": honest.compliance.model_copy(update=changes)})


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(lied(license_expression="LicenseRef-Llama-3.1"), id="known by name only"),
        pytest.param(lied(license_expression="Apache-2.0"), id="another text than it says"),
        pytest.param(lied(licenses=()), id="no text"),
        pytest.param(lied(license_expression="no ( expression"), id="no expression"),
        pytest.param(model().model_copy(update={"files": ()}), id="text not among the files"),
    ],
)
def test_manifests_that_lie(manifest: manifests.Manifest) -> None:
    """What a manifest says about its license is looked up again and not believed."""
    assert clearance.judge(manifest).reason == "LicenseUnknown"


def test_a_text_that_is_not_what_it_is_called() -> None:
    """With the texts at hand, one that is filed under another license's name is found out."""
    captured = {"LICENSES/MIT.txt": (MIT + "Except for commerce.").encode()}
    assert clearance.judge(model(), captured=captured).reason == "LicenseUnknown"


def test_a_class_that_rose() -> None:
    """Where the table became stricter than the manifest, the stricter class counts."""
    manifest = lied(license_class=manifests.LicenseClass.PERMISSIVE)
    allowed = [manifests.LicenseClass.PERMISSIVE]
    assert clearance.judge(manifest, allowed=allowed).reason == "LicenseNotAllowed"


def declared(kind: manifests.Kind) -> manifests.Manifest:
    """Something that is declared as MIT and carries a text that nobody reviewed."""
    data = b"Do what is right."
    compliance = obligations.of(licenses.declare("MIT"), [data])
    files = [
        manifests.File(path=held.path, digest=held.text_digest, size_bytes=len(data))
        for held in compliance.licenses
    ]
    return some.draft(kind=kind, compliance=compliance).with_files(files)


def test_an_unreviewed_text_beside_a_declaration() -> None:
    """A corpus, and what is made from it, may carry one; a model is known by its texts alone."""
    data = b"Do what is right."
    for kind in (manifests.Kind.CORPUS, manifests.Kind.ADAPTER):
        manifest = declared(kind)
        (held,) = manifest.compliance.licenses
        assert held.id == f"LicenseRef-Unreviewed-{digests.Digest.of_bytes(data).short}"
        assert clearance.judge(manifest, captured={held.path: data}).ok
    model = declared(manifests.Kind.MODEL)
    assert clearance.judge(model, captured={}).reason == "LicenseUnknown"


def test_the_advice_is_for_what_is_unknown() -> None:
    """A corpus is not imported, so its message names the source's license field."""
    unknown = some.draft(kind=manifests.Kind.CORPUS, compliance=obligations.unknown())
    said = clearance.judge(unknown).message
    assert "license field" in said
    assert "import" not in said.lower()
