"""Fixtures for all test folders, the option for golden files, and the effort of property tests."""

from __future__ import annotations

import gc
import os

import hypothesis
import pytest

from tests.support import goldens

pytest_plugins = ("tests.support.s3", "tests.support.signals", "hack.cluster.fixtures")

# 30 examples keep the fast tier fast; `HYPOTHESIS_PROFILE=thorough` looks for what they miss.
hypothesis.settings.register_profile("fast", max_examples=30, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        goldens.OPTION,
        action="store_true",
        help="rewrite the golden files with the actual output; review the diff",
    )


def pytest_collection_finish() -> None:
    """Keep what was imported out of every later garbage collection: it lives until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> goldens.Golden:
    """Golden files; `--update-expected` rewrites them."""
    return goldens.Golden(update=bool(request.config.getoption(goldens.OPTION)))
