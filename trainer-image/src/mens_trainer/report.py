"""report.html: the run at a glance, in one file without scripts or anything from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final

FILE_NAME: Final = "report.html"
"""Name of the file in the adapter's folder."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 460, 190, 58, 26, 10

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;
background:#fff;color:#1b1f24}
h1{font-size:1.4rem}h2{font-size:1rem;margin:.2rem 0}
.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(24rem,1fr));gap:1.2rem}
svg{width:100%;height:auto;background:#f6f8fa;border-radius:6px}
text{font-size:11px;fill:#57606a}.axis{stroke:#d0d7de}
.raw{fill:none;stroke:#9db7e8;stroke-width:1.2}.main{fill:none;stroke:#1f5fbf;stroke-width:2}
table{border-collapse:collapse;margin:1rem 0}td{padding:.15rem 1.2rem .15rem 0;vertical-align:top}
td:first-child{color:#57606a}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}svg{background:#161b22}
text,td:first-child{fill:#8b949e;color:#8b949e}.axis{stroke:#30363d}}
"""


def render(name: str, facts: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    """The page of a run.

    Args:
        name: Name of the run.
        facts: Rows of the table at the top, as label and value.
        events: The lines of telemetry.jsonl.
    """
    done = [event for event in events if event.get("event") == "step"]
    rows = "".join(
        f"<tr><td>{html.escape(str(key))}</td><td>{html.escape(str(value))}</td></tr>"
        for key, value in facts.items()
    )
    curves = "".join(
        [
            curve("Loss (nats per answer token)", _series(done, "loss"), _series(done, "loss_ema")),
            curve("Learning rate", _series(done, "learning_rate")),
            curve("Tokens per second", _series(done, "tokens_per_sec")),
            curve("Memory (MiB)", _series(done, "rss_bytes", 2**20), kind="resident"),
        ]
    )
    title = html.escape(name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f'<body><h1>{title}</h1><table>{rows}</table><div class="curves">{curves}</div>'
        "</body></html>\n"
    )


Points = list[tuple[float, float]]


def _series(events: Sequence[Mapping[str, Any]], key: str, scale: float = 1.0) -> Points:
    return [
        (float(event["step"]), float(event[key]) / scale)
        for event in events
        if isinstance(event.get(key), int | float)
    ]


def curve(title: str, raw: Points, smooth: Points | None = None, kind: str = "") -> str:
    """One figure with its axes; a second series is drawn over the first."""
    points = raw + (smooth or [])
    if not points:
        return f"<div><h2>{html.escape(title)}</h2><p>no data</p></div>"
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    low = 0.0 if 0 < low < 0.4 * high else low
    # A constant still needs a range to be drawn in.
    wide, tall = (right - left) or 1.0, (high - low) or abs(high) or 1.0

    def place(point: tuple[float, float]) -> str:
        x = _LEFT + (point[0] - left) / wide * (_WIDTH - _LEFT - 12)
        y = _HEIGHT - _BOTTOM - (point[1] - low) / tall * (_HEIGHT - _BOTTOM - _TOP)
        return f"{x:.1f},{y:.1f}"

    def polyline(series: Points, style: str) -> str:
        return f'<polyline class="{style}" points="{" ".join(map(place, series))}"/>'

    span = _HEIGHT - _BOTTOM - _TOP
    ticks = "".join(
        f'<text x="{_LEFT - 6}" y="{_HEIGHT - _BOTTOM - share * span + 4:.1f}"'
        f' text-anchor="end">{short(low + share * tall)}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    ticks += f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{left:g}</text>'
    ticks += f'<text x="{_WIDTH - 12}" y="{_HEIGHT - 8}" text-anchor="end">{right:g}</text>'
    lines = polyline(raw, "raw" if smooth else "main") + (
        polyline(smooth, "main") if smooth else ""
    )
    label = html.escape(f"{title}{f', {kind}' if kind else ''}")
    return (
        f'<div><h2>{label}</h2><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{label}"><path class="axis" fill="none" d="M{_LEFT} {_TOP}V'
        f'{_HEIGHT - _BOTTOM}H{_WIDTH - 12}"/>{ticks}{lines}</svg></div>'
    )


def short(value: float) -> str:
    """Three digits that count, and no exponent where whole numbers do: 2163, 0.002."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
