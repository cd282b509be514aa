"""Benchmarks: a folder for each area, beside its peer in one run. README.md has the rules."""
