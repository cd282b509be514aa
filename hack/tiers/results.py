"""The result of each tier, read from pytest's exit status and its report."""

from __future__ import annotations

import collections
import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from hack.tiers import tiers

NO_TESTS_COLLECTED = 5
"""pytest's exit status for a selection without a test. A tier without tests is a defect."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One test and its duration."""

    name: str
    """`tests/unit/hack/test_setup.py::test_x`."""
    seconds: float
    """With the setup and teardown of its fixtures."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of one tier."""

    tier: tiers.Tier
    outcome: str
    """passed, failed, or NOT RUN."""
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""
    """Why it did not run, or what to look at."""
    skips: tuple[str, ...] = ()
    """Reasons of skipped tests, each with its count."""
    broken: bool = False
    """Whether it did not run although the machine allows it: then the whole run fails."""
    cases: tuple[Case, ...] = ()
    """Every test that ran."""


def judge(tier: tiers.Tier, code: int, seconds: float, report: Path) -> Result:
    """Reads pytest's exit status and report. A tier with only skipped tests counts as not run."""
    root = _parsed(report)
    passed, failed, skipped = _counts(root)
    skips = _skips(root)
    note = f"see {report.with_suffix('.log').name}" if code else ""
    outcome = "passed" if code == 0 else "failed"
    if code == NO_TESTS_COLLECTED:
        note = "pytest found no test: the tier's paths or markers are wrong"
    elif code == 0 and not passed:
        outcome, note = "NOT RUN", "; ".join(skips) or "no test ran"
    return Result(
        tier, outcome, seconds, passed, failed, skipped, note, skips, cases=tuple(_cases(root))
    )


def slowest(results: list[Result], count: int = 10) -> list[tuple[str, Case]]:
    """Returns the slowest tests of all tiers, each with the name of its tier."""
    found = [(one.tier.name, case) for one in results for case in one.cases]
    return sorted(found, key=lambda pair: -pair[1].seconds)[:count]


def _cases(root: ElementTree.Element) -> list[Case]:
    return [
        Case(
            f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '')}",
            float(case.get("time", "0")),
        )
        for case in root.iter("testcase")
    ]


def _skips(root: ElementTree.Element) -> tuple[str, ...]:
    """Returns the reasons of skipped tests, the most frequent first."""
    found = collections.Counter(skip.get("message", "") for skip in root.iter("skipped"))
    return tuple(f"{count} x {reason}" for reason, count in found.most_common())


def _parsed(report: Path) -> ElementTree.Element:
    """Returns pytest's report; an empty one where pytest did not finish."""
    try:
        return ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return ElementTree.Element("testsuites")


def _counts(root: ElementTree.Element) -> tuple[int, int, int]:
    suites = list(root.iter("testsuite"))
    total, failures, broken, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + broken
    return total - failed - skipped, failed, skipped
