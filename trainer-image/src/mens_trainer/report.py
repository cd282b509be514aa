"""report.html: metrics and charts of a run, in one file without scripts or external resources."""

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
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(24rem,1fr));gap:1.2rem}
svg{width:100%;height:auto;background:#f6f8fa;border-radius:6px}
text{font-size:11px;fill:#57606a}.axis{stroke:#d0d7de}
.raw{fill:none;stroke:#9db7e8;stroke-width:1.2}.main{fill:none;stroke:#1f5fbf;stroke-width:2}
table{border-collapse:collapse;margin:1rem 0}td{padding:.15rem 1.2rem .15rem 0;vertical-align:top}
td:first-child{color:#57606a}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}svg{background:#161b22}
text,td:first-child{fill:#8b949e;color:#8b949e}.axis{stroke:#30363d}}
"""


def render(name: str, summary: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    """Return the HTML page of a run.

    Args:
        name: Name of the run.
        summary: Rows of the table at the top: label and value.
        events: The lines of telemetry.jsonl.
    """
    steps = [event for event in events if event.get("event") == "step"]
    rows = "".join(
        f"<tr><td>{html.escape(str(key))}</td><td>{html.escape(str(value))}</td></tr>"
        for key, value in summary.items()
    )
    charts = "".join(
        [
            chart(
                "Loss (nats per supervised token)",
                _series(steps, "loss"),
                smoothed=_series(steps, "loss_ema"),
            ),
            chart("Learning rate", _series(steps, "learning_rate")),
            chart("Tokens per second", _series(steps, "tokens_per_sec")),
            chart("Resident memory (MiB)", _series(steps, "rss_bytes", 2**20)),
        ]
    )
    title = html.escape(name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f'<body><h1>{title}</h1><table>{rows}</table><div class="charts">{charts}</div>'
        "</body></html>\n"
    )


Points = list[tuple[float, float]]


def _series(events: Sequence[Mapping[str, Any]], key: str, scale: float = 1.0) -> Points:
    return [
        (float(event["step"]), float(event[key]) / scale)
        for event in events
        if isinstance(event.get(key), int | float)
    ]


def chart(title: str, raw: Points, *, smoothed: Points | None = None) -> str:
    """Return a line chart with axes; the smoothed series is drawn over the raw one."""
    points = raw + (smoothed or [])
    if not points:
        return f"<div><h2>{html.escape(title)}</h2><p>no data</p></div>"
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    low = 0.0 if 0 < low < 0.4 * high else low
    # A constant series still needs a range.
    x_range, y_range = (right - left) or 1.0, (high - low) or abs(high) or 1.0

    def position(point: tuple[float, float]) -> str:
        x = _LEFT + (point[0] - left) / x_range * (_WIDTH - _LEFT - 12)
        y = _HEIGHT - _BOTTOM - (point[1] - low) / y_range * (_HEIGHT - _BOTTOM - _TOP)
        return f"{x:.1f},{y:.1f}"

    def polyline(series: Points, style: str) -> str:
        return f'<polyline class="{style}" points="{" ".join(map(position, series))}"/>'

    plot_height = _HEIGHT - _BOTTOM - _TOP
    ticks = "".join(
        f'<text x="{_LEFT - 6}" y="{_HEIGHT - _BOTTOM - share * plot_height + 4:.1f}"'
        f' text-anchor="end">{format_tick(low + share * y_range)}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    ticks += f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{left:g}</text>'
    ticks += f'<text x="{_WIDTH - 12}" y="{_HEIGHT - 8}" text-anchor="end">{right:g}</text>'
    lines = polyline(raw, "raw" if smoothed else "main") + (
        polyline(smoothed, "main") if smoothed else ""
    )
    label = html.escape(title)
    return (
        f'<div><h2>{label}</h2><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{label}"><path class="axis" fill="none" d="M{_LEFT} {_TOP}V'
        f'{_HEIGHT - _BOTTOM}H{_WIDTH - 12}"/>{ticks}{lines}</svg></div>'
    )


def format_tick(value: float) -> str:
    """Format an axis label: three significant digits, or a whole number: 0.002, 2163."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
