"""The tiers as data: folder, markers, and what a machine must offer."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tier:
    """One kind of test, run as one pytest process."""

    name: str
    """Name on the command line and in the table."""
    says: str
    """What it proves, for a person."""
    paths: tuple[str, ...]
    """Where its tests lie."""
    markers: str
    """pytest's marker expression."""
    needs: str | None = None
    """Tier of `hack.cluster.preflight` that the machine must pass; None needs nothing."""
    steps: tuple[str, ...] = ()
    """Steps of `hack.setup` without which it cannot run, beside the environment."""
    workers: int = 0
    """Processes beside each other; 0 runs in one, as tests that share a server or cluster must."""
    minutes: int = 10
    """Bound on the whole tier; a hanging test must not hang the machine."""


SLOW = "not (s3 or model or cluster or node or e2e)"
"""What the fast tier leaves to the others."""

TIERS = (
    Tier(
        "unit",
        "pure cores, laws, goldens",
        ("tests/unit", "tests/repo", "tests/cluster_tool"),
        SLOW,
        workers=2,
        minutes=5,
    ),
    Tier("scenario", "YAML in, YAML out", ("tests/scenario",), SLOW, minutes=5),
    Tier("storage", "a real S3 server (SeaweedFS)", ("tests/unit",), "s3"),
    Tier(
        "model",
        "real models, real tensors",
        ("tests/model",),
        "not (cluster or node or e2e)",
        needs="model",
        steps=("model",),
    ),
    Tier(
        "cluster",
        "a real API server and node",
        ("tests/cluster", "tests/cluster_tool"),
        "(cluster or node) and not e2e",
        needs="node",
        steps=("binaries",),
        minutes=15,
    ),
    Tier(
        "e2e",
        "images, jobs, endpoint",
        ("tests/e2e",),
        "e2e",
        needs="e2e",
        steps=("binaries", "images", "model"),
        minutes=30,
    ),
)
"""In the order in which they run: the cheapest first, so that a defect shows early."""


def named(names: list[str]) -> list[Tier]:
    """Tiers by name, all for an empty list; ValueError names an unknown one."""
    known = {tier.name: tier for tier in TIERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown tier {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names] or list(TIERS)
