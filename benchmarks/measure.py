"""Measures two ways to do one job in turn, and prints a table and one line of JSON."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One run."""

    cpu: float
    """Processor seconds, user and system, of this process and of its ended children."""
    wall: float
    """Elapsed seconds."""


@dataclass(frozen=True)
class Row:
    """One job, done by Mens and by its peer."""

    job: str
    """What is done, with its size."""
    ours: float
    """Median processor seconds of Mens."""
    peer: float
    """Median processor seconds of the peer."""
    ours_wall: float
    """Median elapsed seconds of Mens."""
    peer_wall: float
    """Median elapsed seconds of the peer."""
    note: str = ""
    """What one side does that the other does not."""

    @property
    def ratio(self) -> float:
        """Processor seconds of Mens for each one of the peer; below 1, Mens is faster."""
        return self.ours / self.peer if self.peer else float("inf")


def once(work: Callable[[], object]) -> Sample:
    """Run the work once and measure it."""
    cpu, wall = _cpu(), time.perf_counter()
    work()
    return Sample(cpu=_cpu() - cpu, wall=time.perf_counter() - wall)


def compare(
    job: str,
    *,
    ours: Callable[[], object],
    peer: Callable[[], object],
    rounds: int,
    prepare: Callable[[], object] = lambda: None,
    note: str = "",
) -> Row:
    """Run both once to warm up, then alternately, and return the medians.

    `prepare` runs before each of them and is not measured.

    Raises:
        ValueError: If `rounds` is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}: at least 1 is required")
    samples: dict[str, list[Sample]] = {"ours": [], "peer": []}
    for number in range(rounds + 1):
        print(f"{job}: round {number} of {rounds}", file=sys.stderr)
        for side, work in (("ours", ours), ("peer", peer)):
            prepare()
            sample = once(work)
            if number:  # Round 0 warms up.
                samples[side].append(sample)
    return Row(
        job=job,
        ours=statistics.median(sample.cpu for sample in samples["ours"]),
        peer=statistics.median(sample.cpu for sample in samples["peer"]),
        ours_wall=statistics.median(sample.wall for sample in samples["ours"]),
        peer_wall=statistics.median(sample.wall for sample in samples["peer"]),
        note=note,
    )


def report(area: str, peer: str, rows: Sequence[Row], *, rounds: int) -> str:
    """Return the table, then one line of JSON."""
    width = max(len(row.job) for row in rows)
    header = f"{'job':{width}}  {'Mens CPU s':>11} {peer + ' CPU s':>15} {'ratio':>6}"
    lines = [f"{header} {'Mens s':>8} {peer + ' s':>12}"]
    for row in rows:
        cpu = f"{row.ours:11.3f} {row.peer:15.3f} {row.ratio:6.2f}"
        lines.append(f"{row.job:{width}}  {cpu} {row.ours_wall:8.2f} {row.peer_wall:12.2f}")
    lines += [
        "",
        "ratio: processor seconds of Mens for each one of the peer; below 1, Mens is faster",
    ]
    lines += [f"{row.job}: {row.note}" for row in rows if row.note]
    data = {
        "area": area,
        "machine": {"processor": _processor(), "cpus": os.cpu_count()},
        "peer": peer,
        "rounds": rounds,
        "rows": [_rounded(row) for row in rows],
    }
    return "\n".join([*lines, "", json.dumps(data)]) + "\n"


def _rounded(row: Row) -> dict[str, object]:
    fields = {**asdict(row), "ratio": row.ratio}
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in fields.items()
    }


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name of the processor, with the widest vector extension that numbers depend on."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return platform.processor()
    pairs = (line.partition(":") for line in lines)
    values = {key.strip(): value.strip() for key, colon, value in pairs if colon}
    flags = values.get("flags", "").split()
    widest = next((flag for flag in ("avx512f", "avx2") if flag in flags), "no avx2")
    return f"{values.get('model name', platform.processor())}, {widest}"
