"""Laws of the pure stages: globs, duplicates, weights, split, accounting."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens_corpus import accounting, deduplicating, globs, rows, sampling, secrets, splitting, spool


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("**/*.py", ["a.py", "a/b.py", "a/b/c.py"], ["a.pyc", "a.py/b"]),
        ("*.py", ["a.py"], ["a/b.py"]),
        ("docs/**", ["docs/a", "docs/a/b.md"], ["docs", "other/docs/a"]),
        ("a/**/z.md", ["a/z.md", "a/b/c/z.md"], ["a/bz.md", "z.md"]),
        ("a?c/[xy].md", ["abc/x.md"], ["a/c/x.md", "abc/z.md"]),
        ("[!a].md", ["b.md"], ["a.md", "/.md"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a+(b).md", ["a+(b).md"], ["aab.md"]),
        ("**", ["a", "a/b"], []),
    ],
)
def test_a_pattern_matches_whole_paths(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    """`*` stays in its folder, `**/` is any number of folders, the rest is literal."""
    assert [path for path in matching if not globs.selected(path, [pattern], [])] == []
    assert [path for path in others if globs.selected(path, [pattern], [])] == []


def test_exclusion_wins_over_inclusion() -> None:
    """Nothing included means everything; what is excluded stays out."""
    assert globs.selected("a/b.py", [], [])
    assert not globs.selected("a/b.py", ["**/*.py"], ["a/**"])


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_pattern_can_be_compiled(pattern: str, path: str) -> None:
    """No pattern that a user writes is an error of ours."""
    globs.selected(path, [pattern], [pattern])


def spooled(key: str, order: int, path: str, line: int) -> spool.Spooled:
    return spool.Spooled(
        id=f"{key}/{order}/{path}",
        duplicate_key=key,
        order=order,
        source=f"s{order}",
        path=path,
        line=line,
        license="MIT",
        offset=0,
        length=0,
    )


SPOOLED = st.lists(
    st.builds(
        spooled,
        st.sampled_from("abc"),
        st.integers(0, 2),
        st.sampled_from(["p", "q"]),
        st.integers(1, 3),
    ),
    max_size=20,
)


@given(SPOOLED, st.randoms())
def test_of_equal_rows_the_first_by_source_and_path_stays(
    found: list[spool.Spooled], chance: random.Random
) -> None:
    """Whatever order they come in, and a second time changes nothing."""
    once = deduplicating.survivors(found)
    shuffled = found.copy()
    chance.shuffle(shuffled)
    assert set(deduplicating.survivors(shuffled)) == set(once)
    assert set(deduplicating.survivors(once)) == set(once)
    assert {row.duplicate_key for row in once} == {row.duplicate_key for row in found}
    for row in once:
        equal = [other for other in found if other.duplicate_key == row.duplicate_key]
        assert row.priority == min(other.priority for other in equal)


def test_white_space_and_composition_make_no_difference() -> None:
    """Rows that differ in nothing else are duplicates; their identities still differ."""
    first = _row("a  b\n", "é")
    second = _row("a b", "e\u0301")
    assert first.duplicate_key == second.duplicate_key
    assert first.id != second.id
    assert _row("ab", "é").duplicate_key != first.duplicate_key


def _row(prompt: str, response: str) -> rows.Row:
    return rows.Row(prompt, response, rows.Lane.DOCS_QA, "c", "t", "s", "p")


SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(1, 50), max_size=30)
FRACTIONS = st.decimals(0, Decimal("0.5"), places=3)


@given(SIZES, FRACTIONS, st.integers(0, 5), st.randoms())
def test_the_split_holds_out_whole_groups(
    sizes: dict[str, int], fraction: Decimal, seed: int, chance: random.Random
) -> None:
    """Never all groups, never none of two, never more rows than asked for if that can be."""
    held = splitting.held_out(sizes, fraction=fraction, seed=seed)
    assert held <= set(sizes)
    assert len(held) < max(len(sizes), 1)
    if fraction > 0 and len(sizes) >= 2:
        assert held
        wanted = int(fraction * sum(sizes.values()))
        taken = sum(sizes[group] for group in held)
        assert taken <= wanted or (len(held) == 1 and taken == min(sizes.values()))
    items = list(sizes.items())
    chance.shuffle(items)
    assert splitting.held_out(dict(items), fraction=fraction, seed=seed) == held


def test_the_seed_decides_who_is_held_out() -> None:
    """Two seeds, two choices."""
    sizes = {f"file{number}": 1 for number in range(100)}
    choices = {splitting.held_out(sizes, fraction=Decimal("0.1"), seed=seed) for seed in range(5)}
    assert [len(choice) for choice in choices] == [10] * 5


WEIGHTS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.integers(0, 99), st.decimals(0, 3, places=2))
)


@given(WEIGHTS)
def test_quotas_are_the_largest_remainders(given_: dict[str, tuple[int, Decimal]]) -> None:
    """Each within one of its share, together the rounded sum: no weight is rounded up alone."""
    sizes = {name: size for name, (size, _) in given_.items()}
    weights = {name: weight for name, (_, weight) in given_.items()}
    kept = sampling.quotas(sizes, weights)
    shares = {name: min(weights[name], Decimal(1)) * sizes[name] for name in sizes}
    assert all(abs(kept[name] - shares[name]) < 1 for name in sizes)
    assert all(0 <= kept[name] <= sizes[name] for name in sizes)
    assert sum(kept.values()) == int(sum(shares.values(), Decimal(0)).to_integral_value())


@given(st.sets(st.text("abcd", min_size=1, max_size=6)), st.integers(0, 20), st.randoms())
def test_a_sample_depends_on_seed_and_ids_alone(
    ids: set[str], quota: int, chance: random.Random
) -> None:
    """A smaller quota takes a part of what a larger one takes."""
    ordered = sorted(ids)
    sample = sampling.sample(ordered, quota, seed=1)
    chance.shuffle(ordered)
    assert sampling.sample(ordered, quota, seed=1) == sample
    assert len(sample) == min(quota, len(ids))
    assert sampling.sample(ordered, max(quota - 1, 0), seed=1) <= sample


FATES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(list(accounting.Fate))))


@given(FATES, st.booleans())
def test_the_ledger_notices_what_is_lost(
    fates: list[tuple[str, accounting.Fate]], lose: bool
) -> None:
    """What came in must have come out, for each source."""
    ledger = accounting.Ledger(["a", "b"])
    for source, fate in fates:
        ledger[source].entered()
        ledger[source].settled(fate, "Because")
    assert ledger.total(accounting.Fate.EMITTED) == Counter(fate for _, fate in fates)["emitted"]
    if lose:
        ledger["b"].entered()
        with pytest.raises(accounting.UnbalancedError, match="b: "):
            ledger.check()
    else:
        ledger.check()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("key = 'AKIA" + "ABCDEFGH23456723'", "AwsAccessKey"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "PrivateKey"),
        ("-----BEGIN " + "PRIVATE KEY-----", "PrivateKey"),
        ("token: ghp_" + "a" * 36, "GitHubToken"),
        ("https://user:" + "hunter2hunter@example.org", "UrlPassword"),
        ("postgres://user:password@host", "UrlPassword"),
        ("password = 'example'", None),
        ("https://example.org:8080/a@b", None),
        ("AKIA is a prefix", None),
    ],
)
def test_secrets_are_known_by_their_shape(text: str, kind: str | None) -> None:
    """The kind is told, the secret is not."""
    assert secrets.find(f"some text\n{text}\nmore") == kind


SECRETS = {
    "PrivateKey": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "AwsAccessKey": "ASIA" + "ABCDEFGH23456723",
    "GitHubToken": "github_pat_" + "a" * 82,
    "GitLabToken": "glpat-" + "a" * 20,
    "SlackToken": "xoxb-" + "1" * 12,
    "SlackWebhook": "hooks.slack" + ".com/services/T0000000/B0000000/" + "a" * 24,
    "GoogleApiKey": "AIza" + "a" * 35,
    "StripeKey": "rk_live_" + "a" * 24,
    "HuggingFaceToken": "hf_" + "a" * 34,
    "PyPiToken": "pypi-" + "AgEIcHlwaS5vcmc" + "a" * 60,
    "NpmToken": "npm_" + "a" * 36,
    "AnthropicKey": "sk-ant-" + "a" * 40,
    "OpenAiKey": "sk-" + "a" * 20 + "T3BlbkFJ" + "a" * 20,
    "JsonWebToken": "eyJ" + "a" * 20 + ".eyJ" + "a" * 20 + "." + "a" * 20,
    "UrlPassword": "amqp://user:" + "password@host",
}


def test_no_form_of_a_secret_is_overlooked() -> None:
    """The quick look for marks lets every form through to the expression."""
    assert {kind: secrets.find(f"x = '{text}'") for kind, text in SECRETS.items()} == {
        kind: kind for kind in SECRETS
    }
    assert set(SECRETS) == set(secrets.FORMS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sk-proj-" + "A1b2-C3d4_" * 7 + "abcd" + "T3BlbkFJ" + "A1b2-C3d4_" * 7, "OpenAiKey"),
        ("sk-svcacct-" + "a1" * 29 + "T3BlbkFJ" + "b2" * 29, "OpenAiKey"),
        ("sk-admin-" + "a1_" * 19 + "T3BlbkFJ" + "b2-" * 19, "OpenAiKey"),
        ("glpat-" + "aB3-_" * 5 + "xx.01.1a2b3c4d5", "GitLabToken"),
        ("ghs_" + "a1" * 30, "GitHubToken"),
        ("github_pat_" + "a1" * 50, "GitHubToken"),
        ("hf_" + "aB1" * 11 + "a", "HuggingFaceToken"),
        ("hf_" + "a" * 40, "HuggingFaceToken"),
        ("api_org_" + "a" * 34, "HuggingFaceToken"),
        ("npm_" + "a1" * 20, "NpmToken"),
        ("AIza" + "a" * 34 + "-", "GoogleApiKey"),
        ("glpat-short", None),
        ("hf_model_name_that_is_long_enough_to_be_one", None),
        ("sk-proj-a-css-class-of-a-project", None),
        ("task-proj-" + "a-css-class-that-is-rather-long-but-harmless-and-goes-on-1", None),
    ],
)
def test_tokens_of_today_are_longer_than_those_of_yesterday(text: str, kind: str | None) -> None:
    """Services lengthen their tokens without notice; a name that begins like one is none."""
    assert secrets.find(f"x = '{text}'") == kind
