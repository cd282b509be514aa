"""The closing table of a test run."""

from __future__ import annotations

from collections.abc import Sequence

from hack.tiers import results


def render(found: list[results.Result], warnings: Sequence[str] = ()) -> str:
    """Returns the table: a line per tier, the slowest tests, what did not run, and the sums.

    Args:
        found: The result of each tier.
        warnings: Further sentences that need attention, such as exceeded budgets.
    """
    lines = ["", *_tiers(found), *_slowest(found), *_notes(found)]
    lines += [f"!!! {warning}" for warning in warnings]
    sums = [sum(getattr(one, key) for one in found) for key in ("passed", "failed", "skipped")]
    lines += ["", f"{sums[0]} passed, {sums[1]} failed, {sums[2]} skipped"]
    return "\n".join(lines) + "\n"


def _tiers(found: list[results.Result]) -> list[str]:
    lines = [f"{'tier':10} {'outcome':8} {'passed':>7} {'failed':>7} {'skipped':>8} {'time':>8}"]
    for one in found:
        row = f"{one.tier.name:10} {one.outcome:8} {one.passed:7} {one.failed:7} {one.skipped:8}"
        lines.append(f"{row} {one.seconds:6.0f} s" + (f"  {one.note}" if one.note else ""))
    return lines


def _slowest(found: list[results.Result]) -> list[str]:
    slow = results.slowest(found)
    if not slow:
        return []
    return [
        "",
        "the slowest tests",
        *(f"{c.seconds:6.1f} s  {name:8} {c.name}" for name, c in slow),
    ]


def _notes(found: list[results.Result]) -> list[str]:
    lines = [""]
    for one in found:
        if one.outcome == "NOT RUN":
            why = "BECAUSE ITS SETUP FAILED" if one.broken else "on this machine"
            lines.append(f"!!! tier {one.tier.name} DID NOT RUN {why}: {one.note}")
        else:
            lines += [f"!!! tier {one.tier.name} skipped {reason}" for reason in one.skips]
    return lines if len(lines) > 1 else []
