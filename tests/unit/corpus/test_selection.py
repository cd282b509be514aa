"""Deduplication, sampling and splitting of rows."""

from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from mens_corpus import rows, selection, spool


def spooled(key: str, order: int, path: str, line: int) -> spool.SpooledRow:
    return spool.SpooledRow(
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
def test_deduplication_keeps_the_first_row_by_source_and_path(
    found: list[spool.SpooledRow], chance: random.Random
) -> None:
    """Deduplication is idempotent and independent of the order of the input."""
    once = selection.deduplicate(found)
    shuffled = found.copy()
    chance.shuffle(shuffled)
    assert set(selection.deduplicate(shuffled)) == set(once)
    assert set(selection.deduplicate(once)) == set(once)
    assert {row.duplicate_key for row in once} == {row.duplicate_key for row in found}
    for row in once:
        equal = [other for other in found if other.duplicate_key == row.duplicate_key]
        assert row.priority == min(other.priority for other in equal)


def test_duplicate_key_ignores_white_space_and_unicode_composition() -> None:
    """Rows that differ only in these are duplicates, but have different ids."""
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
def test_split_never_divides_a_group(
    sizes: dict[str, int], fraction: Decimal, seed: int, chance: random.Random
) -> None:
    """At least one of two groups, never all groups, and at most the fraction if a group fits."""
    held_out = selection.validation_groups(sizes, fraction=fraction, seed=seed)
    assert held_out <= set(sizes)
    assert len(held_out) < max(len(sizes), 1)
    if fraction > 0 and len(sizes) >= 2:
        assert held_out
        wanted = int(fraction * sum(sizes.values()))
        taken = sum(sizes[group] for group in held_out)
        assert taken <= wanted or (len(held_out) == 1 and taken == min(sizes.values()))
    items = list(sizes.items())
    chance.shuffle(items)
    assert selection.validation_groups(dict(items), fraction=fraction, seed=seed) == held_out


def test_split_depends_on_the_seed() -> None:
    """Every seed holds out the requested number of groups, and seeds give different splits."""
    sizes = {f"file{number}": 1 for number in range(100)}
    choices = {
        selection.validation_groups(sizes, fraction=Decimal("0.1"), seed=seed) for seed in range(5)
    }
    assert len(choices) == 5
    assert [len(choice) for choice in choices] == [10] * 5


WEIGHTS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.integers(0, 99), st.decimals(0, 3, places=2))
)


@given(WEIGHTS)
def test_quotas_follow_the_largest_remainder_method(given_: dict[str, tuple[int, Decimal]]) -> None:
    """Each quota is within one of its share; all quotas add up to the rounded sum of the shares."""
    sizes = {name: size for name, (size, _) in given_.items()}
    weights = {name: weight for name, (_, weight) in given_.items()}
    kept = selection.quotas(sizes, weights)
    shares = {name: min(weights[name], Decimal(1)) * sizes[name] for name in sizes}
    assert all(abs(kept[name] - shares[name]) < 1 for name in sizes)
    assert all(0 <= kept[name] <= sizes[name] for name in sizes)
    assert sum(kept.values()) == int(sum(shares.values(), Decimal(0)).to_integral_value())


@given(st.sets(st.text("abcd", min_size=1, max_size=6)), st.integers(0, 20), st.randoms())
def test_sample_depends_only_on_seed_and_ids(
    ids: set[str], quota: int, chance: random.Random
) -> None:
    """The sample of a smaller quota is a subset of the sample of a larger one."""
    ordered = sorted(ids)
    sample = selection.sample(ordered, quota, seed=1)
    chance.shuffle(ordered)
    assert selection.sample(ordered, quota, seed=1) == sample
    assert len(sample) == min(quota, len(ids))
    assert selection.sample(ordered, max(quota - 1, 0), seed=1) <= sample
