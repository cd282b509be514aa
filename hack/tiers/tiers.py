"""The test tiers as data: folders, markers, what a machine must offer, and time budgets."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tier:
    """One kind of test, run as one pytest process."""

    name: str
    """Name on the command line and in the table."""
    summary: str
    """What it proves, in a few words."""
    paths: tuple[str, ...]
    """Folders of its tests."""
    markers: str
    """pytest's marker expression."""
    budget: float
    """Maximum seconds in `make test`; see `hack.tiers.budgets`."""
    preflight: str = "unit"
    """Tier of `hack.cluster.preflight` that the machine must pass."""
    steps: tuple[str, ...] = ()
    """Steps of `hack.setup` that it needs, besides the environment."""
    workers: int = 0
    """pytest-xdist workers; 0 for tests that share a server or a cluster."""
    computes: bool = False
    """Whether it uses the processor all the time. Such a tier gets a lower priority, since the
    deadlines of a tier that waits for a cluster must not depend on what runs beside it."""
    minutes: int = 15
    """Time limit: a hanging test must not block the machine."""
    environment: tuple[tuple[str, str], ...] = ()
    """Additional environment variables."""


FAST = "not (s3 or model or cluster or node or e2e or soak)"
"""The tests that need no server, no model and no cluster."""

TIERS = (
    Tier(
        "unit",
        "pure cores, laws, goldens",
        ("tests/unit", "tests/repo", "tests/cluster_tool"),
        FAST,
        budget=480,
        workers=2,
        computes=True,
    ),
    Tier("scenario", "YAML in, YAML out", ("tests/scenario",), FAST, budget=90, computes=True),
    Tier(
        "storage",
        "a real S3 server (SeaweedFS)",
        ("tests/unit",),
        "s3 and not soak",
        budget=300,
    ),
    Tier(
        "model",
        "real models, real tensors",
        ("tests/model",),
        "not (cluster or node or e2e or soak)",
        budget=1200,
        preflight="model",
        steps=("model",),
        computes=True,
        minutes=25,
    ),
    Tier(
        "cluster",
        "a real API server and node",
        ("tests/cluster", "tests/cluster_tool"),
        "(cluster or node) and not (e2e or soak)",
        budget=1500,
        preflight="node",
        steps=("binaries", "kwok"),
        minutes=30,
    ),
    Tier(
        "e2e",
        "images, jobs, endpoint",
        ("tests/e2e",),
        "e2e and not soak",
        budget=2100,
        preflight="e2e",
        steps=("binaries", "images", "model"),
        minutes=40,
    ),
)
"""Every tier of `make test`, the cheapest first."""

SOAK = Tier(
    "soak",
    "long forms: 1000 examples for each law, and what is marked soak",
    ("tests/unit", "tests/scenario", "tests/cluster", "tests/cluster_tool"),
    "soak or not (s3 or model or cluster or node or e2e)",
    budget=7200,
    preflight="node",
    steps=("binaries", "kwok"),
    minutes=180,
    environment=(("HYPOTHESIS_PROFILE", "thorough"),),
)
"""`make soak`: not part of `make test`, since it takes an hour and more."""


def named(names: list[str]) -> list[Tier]:
    """Returns tiers by name, or all of `make test`; ValueError names an unknown one."""
    known = {tier.name: tier for tier in (*TIERS, SOAK)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown tier {unknown[0]!r}; choose from {', '.join(known)}")
    return [known[name] for name in names] or list(TIERS)
