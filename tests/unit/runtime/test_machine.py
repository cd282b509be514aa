"""The memory limit of a pod."""

from __future__ import annotations

from pathlib import Path

from mens.runtime import machine


def test_the_memory_limit_is_the_smaller_of_cgroup_and_machine(tmp_path: Path) -> None:
    """The machine's memory where the cgroup has no limit; None where neither is known."""
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:       1000 kB\n")
    limit = tmp_path / "memory.max"
    assert machine.memory_limit(limit, info) == 1000 * 1024
    limit.write_text("max\n")
    assert machine.memory_limit(limit, info) == 1000 * 1024
    limit.write_text("5000\n")
    assert machine.memory_limit(limit, info) == 5000
    assert machine.memory_limit(tmp_path / "none", tmp_path / "none") is None
