"""What this machine lacks for a tier, asked of those who know: environment, cluster and images."""

from __future__ import annotations

from hack import images
from hack.cluster import preflight
from hack.setup import environment
from hack.support import errors


def lacking(tier: str) -> list[str]:
    """Sentences with cause and fix; empty when the tier can be made ready and run here.

    Only what is still missing counts, and the room for all of it is added up.

    Args:
        tier: One of `hack.cluster.preflight.TIERS`.
    """
    found = preflight.check(tier)
    needs = environment.room()
    # A cluster of somebody else is checked by its answer alone: nothing of it comes to lie here.
    if any(one.name == preflight.DISK for one in found):
        needs += preflight.room(tier)
    if tier == "e2e":
        found += images.lacking()
        needs += images.room()
    others = [one for one in found if not one.ok and one.name != preflight.DISK]
    room = preflight.disk(needs)
    said = [f"{one.name}: {one.reason} ({one.fix})" for one in (others + [room] * (not room.ok))]
    return list(dict.fromkeys(said))


def require(tier: str) -> None:
    """ToolError with all that this machine lacks for a tier, and how to get it."""
    said = lacking(tier)
    if said:
        raise errors.ToolError("\n  ".join(["this machine cannot run it yet:", *said]))
