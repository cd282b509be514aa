"""Time budgets: a run fails when a tier takes longer than its budget on this machine.

A budget is the maximum number of seconds on the reference machine: two slow cores (AVX2), all
tiers in one `make test`. It is about three times what a quiet machine needs: tiers run beside each
other, and CI machines are shared, so that only growth fails a run and noise does not. Machines
differ threefold, so `slowdown` measures this machine before the tiers start, and a slower machine
gets a proportionally larger budget. A faster machine keeps the budget of the reference: what passes
there may never fail on faster hardware.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import time

from hack.tiers import results

REFERENCE_SECONDS = 0.40
"""What `_workload` takes on each core of the reference machine, all cores at work."""

MARGIN = 1.0
"""Factor on every budget; MENS_TEST_BUDGET changes it for a machine that is shared."""


def slowdown() -> float:
    """Returns how many times slower than the reference this machine is now; at least 1."""
    cores = os.cpu_count() or 1
    # Processes, because threads of one interpreter would wait for each other. All cores at once,
    # because cores that share a physical core or a host slow each other down.
    with concurrent.futures.ProcessPoolExecutor(cores) as pool:
        seconds = max(pool.map(_workload, range(cores)))
    return max(1.0, seconds / REFERENCE_SECONDS)


def seconds_of(budget: float, slower: float) -> float:
    """Returns a tier's budget on this machine.

    Args:
        budget: Seconds on the reference machine.
        slower: From `slowdown`.
    """
    return budget * slower * float(os.environ.get("MENS_TEST_BUDGET") or MARGIN)


def exceeded(found: list[results.Result], slower: float) -> list[str]:
    """Returns a sentence for each tier that took longer than its budget."""
    return [
        f"tier {one.tier.name} took {one.seconds:.0f} s; its budget is "
        f"{seconds_of(one.tier.budget, slower):.0f} s on this machine "
        f"({one.tier.budget:.0f} s x {slower:.2f}): make its tests faster, or raise its budget in "
        "hack/tiers/tiers.py with a reason"
        for one in found
        if one.seconds > seconds_of(one.tier.budget, slower)
    ]


def _workload(_: int) -> float:
    """What tests do: objects, text and hashes. Returns its seconds."""
    began = time.monotonic()
    document = {f"field{number}": list(range(20)) for number in range(200)}
    digest = hashlib.sha256()
    for _ in range(60):
        digest.update(json.dumps(json.loads(json.dumps(document)), indent=1).encode())
    return time.monotonic() - began
