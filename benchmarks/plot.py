"""Plots as SVG: bars with their spread, and lines. Readable by ear, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT = 760, 230, 110
ROW, TOP = 26, 44
HEIGHT = 300
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 15px; }
.small { font-size: 11px; }
.bar { fill: #5b7fa6; } .own { fill: #c4571b; } .bare { fill: #8c959f; }
.spread, .axis { stroke: #24292f; stroke-width: 1; fill: none; }
.line { stroke: #24292f; stroke-width: 2; fill: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .bar { fill: #7fa6d1; } .own { fill: #f0883e; } .bare { fill: #6e7681; }
  .spread, .axis, .line { stroke: #e6edf3; }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, its spread, and the class that colours it: bar, own or bare."""

    label: str
    value: float
    low: float
    high: float
    kind: str = "bar"


def bars(title: str, unit: str, given: Iterable[Bar]) -> str:
    """Horizontal bars, from the top, each with its figure and its spread."""
    rows = list(given)
    scale = (WIDTH - LEFT - RIGHT) / max((bar.high for bar in rows), default=1)
    parts = [_bar(bar, TOP + ROW * number, scale) for number, bar in enumerate(rows)]
    said = "; ".join(f"{bar.label}: {bar.value:,.0f}" for bar in rows)
    height = TOP + ROW * len(rows) + 12
    return _document(f"{title}, {unit}", said, height, parts)


def _bar(bar: Bar, top: int, scale: float) -> str:
    middle = top + ROW / 2 - 3
    low, high = (LEFT + scale * value for value in (bar.low, bar.high))
    return (
        f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect class="{bar.kind}" x="{LEFT}" y="{top}" width="{scale * bar.value:.1f}"'
        f' height="{ROW - 6}" rx="2"/>'
        f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8'
        f'M{high:.1f} {middle - 4}v8"/>'
        f'<text x="{high + 8:.1f}" y="{middle + 4}">{bar.value:,.0f}</text>'
    )


def lines(
    title: str, unit: str, across: str, given: Mapping[str, Sequence[tuple[float, float]]]
) -> str:
    """A line for each name, through points whose first number has its place on the axis by rank."""
    places = sorted({x for points in given.values() for x, _ in points})
    top = max((y for points in given.values() for _, y in points), default=1) or 1
    step = (WIDTH - 70 - 200) / max(len(places) - 1, 1)

    def place(x: float, y: float) -> tuple[float, float]:
        return 70 + step * places.index(x), TOP + (HEIGHT - TOP - 40) * (1 - y / top)

    floor = place(places[0], 0)[1] if places else HEIGHT
    parts = [f'<path class="axis" d="M70 {TOP}V{floor}H{70 + step * (len(places) - 1):.1f}"/>']
    parts += [_tick(*place(x, 0), f"{x:,.0f}") for x in places]
    parts.append(f'<text class="small" x="{WIDTH - 190}" y="{floor + 16}">{escape(across)}</text>')
    parts.append(f'<text class="small" x="62" y="{TOP + 4}" text-anchor="end">{top:,.4g}</text>')
    parts += _lines(given, place)
    said = "; ".join(
        f"{name}: " + ", ".join(f"{x:,.0f}: {y:,.4g}" for x, y in points)
        for name, points in given.items()
    )
    return _document(f"{title}, {unit}", said, HEIGHT, parts)


def _lines(given: Mapping[str, Sequence[tuple[float, float]]], place: object) -> list[str]:
    """Told apart by dashes, and by a name at the end that keeps its distance from the others."""
    ends = sorted(given, key=lambda name: -given[name][-1][1] if given[name] else 0)
    parts, lowest = [], float(TOP)
    for number, name in enumerate(ends):
        if not given[name]:
            continue
        at = [place(x, y) for x, y in given[name]]  # type: ignore[operator]
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        dashes = DASHES[number % len(DASHES)]
        parts.append(f'<path class="line" stroke-dasharray="{dashes}" d="M{way}"/>')
        x, y = at[-1]
        lowest = max(lowest + 15, y + 4)
        parts.append(f'<text class="small" x="{x + 8:.1f}" y="{lowest:.1f}">{escape(name)}</text>')
    return parts


def _tick(x: float, y: float, text: str) -> str:
    return f'<text class="small" x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{text}</text>'


def _document(title: str, said: str, height: int, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-labelledby="title said">\n<title id="title">{escape(title)}</title>\n'
        f'<desc id="said">{escape(said)}</desc>\n<style>{STYLE}</style>\n'
        f'<text class="title" x="12" y="24">{escape(title)}</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
