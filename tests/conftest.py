"""Fixtures that every room may use, and how hard property tests try."""

import os

import hypothesis

pytest_plugins = ("tests.support.s3", "tests.support.signals", "hack.cluster.fixtures")

# 30 examples keep the fast tier fast; `HYPOTHESIS_PROFILE=thorough` looks for what they miss.
hypothesis.settings.register_profile("fast", max_examples=30, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
