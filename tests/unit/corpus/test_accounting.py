"""Accounting: every candidate has exactly one outcome."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens_corpus import accounting

OUTCOMES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(list(accounting.Outcome))))


@given(OUTCOMES, st.booleans())
def test_check_balance_detects_a_lost_candidate(
    counted: list[tuple[str, accounting.Outcome]], lost: bool
) -> None:
    """Every source must have as many outcomes as candidates."""
    counters = accounting.Counters(["a", "b"])
    for source, outcome in counted:
        counters[source].add_candidates()
        counters[source].add_outcome(outcome, "Reason")
    assert (
        counters.total(accounting.Outcome.EMITTED)
        == Counter(outcome for _, outcome in counted)[accounting.Outcome.EMITTED]
    )
    if lost:
        counters["b"].add_candidates()
        with pytest.raises(accounting.UnbalancedError, match="source b: "):
            counters.check_balance()
    else:
        counters.check_balance()
