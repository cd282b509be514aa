"""What this machine lacks for a tier of tests, asked of those who know: cluster and images."""

from __future__ import annotations

from hack import images
from hack.cluster import preflight


def lacking(tier: str) -> list[str]:
    """Sentences with cause and fix; empty when the tier can run here.

    Args:
        tier: One of `hack.cluster.preflight.TIERS`.
    """
    found = [one for one in preflight.check(tier) if not one.ok]
    said = [f"{one.name}: {one.reason} ({one.fix})" for one in found]
    if tier == "e2e" and not said:
        said = [f"{one.name}: {one.reason} ({one.fix})" for one in images.lacking()]
    return said
