"""What this machine lacks for a tier: the checks of environment, cluster and images together."""

from __future__ import annotations

from hack import images
from hack.cluster import preflight
from hack.setup import environment
from hack.support import errors


def lacking(tier: str) -> list[str]:
    """Returns sentences with cause and fix; empty when the tier can be prepared and run here.

    Only what is still missing counts, and its disk space is added up.

    Args:
        tier: One of `hack.cluster.preflight.TIERS`.
    """
    found = preflight.check(tier)
    needs = environment.room()
    # For a cluster of the user's only its answer counts: it needs no disk space here.
    if any(one.name == preflight.DISK for one in found):
        needs += preflight.room(tier)
    if tier == "e2e":
        found += images.lacking()
        needs += images.room()
    others = [one for one in found if not one.ok and one.name != preflight.DISK]
    room = preflight.disk(needs)
    missing = others if room.ok else [*others, room]
    return list(dict.fromkeys(f"{one.name}: {one.reason} ({one.fix})" for one in missing))


def require(tier: str) -> None:
    """Raises ToolError with everything that this machine lacks for a tier, and the fixes."""
    found = lacking(tier)
    if found:
        raise errors.ToolError("\n  ".join(["this machine lacks something:", *found]))
