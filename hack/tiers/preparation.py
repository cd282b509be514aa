"""What the tiers need: the steps of the setup, and what this machine lacks.

Standard library only: this runs with the system's Python before the environment exists.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from hack.cluster import external, preflight
from hack.setup import capabilities, records, runner, steps
from hack.support import errors
from hack.tiers import tiers


def prepare(chosen: Sequence[tiers.Tier]) -> int:
    """Makes what the tiers need that this machine can run, and writes a record for their runner.

    Without the environment nothing can run. Any other failure affects only the tiers that need
    the failed step.

    Returns:
        The exit status: 0 when at least the environment is ready.
    """
    began = time.time()
    external.isolate(os.environ)
    apt = _install(chosen)
    broken = {
        tier.name: apt for tier in chosen if apt and preflight.missing_packages(tier.preflight)
    }
    lacking = {
        tier.name: "; ".join(found)
        for tier in chosen
        if tier.name not in broken and (found := capabilities.lacking(tier.preflight))
    }
    allowed = [tier for tier in chosen if tier.name not in {*broken, *lacking}]
    optional = {step.name for step in steps.ALL} - {steps.ENVIRONMENT.name}
    outcome = runner.run(steps_of(allowed), title="setup for the tests", optional=optional)
    broken |= unready(allowed, outcome.failed)
    records.write(records.Record(began, outcome.seconds, broken, lacking))
    return 1 if steps.ENVIRONMENT.name in outcome.failed else 0


def print_lacking(chosen: Sequence[tiers.Tier]) -> int:
    """Prints for each tier whether this machine can run it, and otherwise the cause and the fix."""
    external.isolate(os.environ)
    lacking = {tier.name: capabilities.lacking(tier.preflight) for tier in chosen}
    for name, found in lacking.items():
        lines = [f"✗ {name}", *(f"    {one}" for one in found)] if found else [f"✓ {name}"]
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if any(lacking.values()) else 0


def steps_of(chosen: Iterable[tiers.Tier]) -> list[runner.Step]:
    """Returns the steps that these tiers need; every tier needs the environment."""
    names = {steps.ENVIRONMENT.name, *(name for tier in chosen for name in tier.steps)}
    return [step for step in steps.ALL if step.name in names]


def unready(chosen: Iterable[tiers.Tier], failed: Mapping[str, str]) -> dict[str, str]:
    """Returns the tiers that need a failed step, each with the reasons.

    Args:
        chosen: The tiers whose steps were run.
        failed: Step -> why it failed.
    """
    why = {
        tier.name: "; ".join(failed[step] for step in tier.steps if step in failed)
        for tier in chosen
    }
    return {name: reason for name, reason in why.items() if reason}


def _install(chosen: Sequence[tiers.Tier]) -> str:
    """Installs Debian packages; returns why that failed, or an empty string."""
    try:
        preflight.install_packages(*(tier.preflight for tier in chosen))
    except errors.ToolError as error:
        sys.stderr.write(f"{error}\n")
        return " ".join(str(error).split())
    return ""
