"""report.html."""

from __future__ import annotations

import pytest

from mens_trainer import report


def test_text_is_escaped() -> None:
    """In the title and in the summary table; charts without data say it."""
    page = report.render("<script>", {"a": "<b>"}, [])
    assert "<script>" not in page
    assert "&lt;b&gt;" in page
    assert page.count("no data") == 4


@pytest.mark.parametrize(
    ("value", "label"), [(2163.2, "2163"), (0.002, "0.002"), (3.9, "3.9"), (165.2, "165")]
)
def test_axis_labels_have_no_exponents(value: float, label: str) -> None:
    """2.16e+03 is wider than the margin and hard to read."""
    assert report.format_tick(value) == label
