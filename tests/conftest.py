"""Fixtures that every room may use."""

pytest_plugins = ("tests.support.s3", "hack.cluster.fixtures")
