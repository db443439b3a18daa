"""Bars, laid out for an inline SVG that the templates draw: no script, and nothing to load.

What failed stands on top of what was executed, hatched, so that nobody has to tell colours apart;
and a table says the same in numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from django_async import clock
from django_async.admin import wording
from django_async.ledger import Sum
from django_async.performance import Series

WIDTH, HEIGHT = 320, 110
LEFT, TOP, BOTTOM = 34, 8, 16
"""Room for the numbers at the left, and the times below."""

MARKED = {"hour": 3, "day": 6, "week": 8}
"""Every how many bars the time is written below, so that it is one that is easily read."""

GAP = 0.2
"""The share of a bar's place that stays empty."""


@dataclass(frozen=True, slots=True)
class Column:
    """One bar: where it stands, and what it says."""

    x: float
    width: float
    y: float
    height: float
    """Of what was executed."""
    failed_y: float
    failed_height: float
    begin: datetime
    end: datetime
    executed: str
    failed: str
    cancelled: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across, with its number."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A window of time as bars."""

    name: str
    begin: datetime
    columns: list[Column]
    ticks: list[Tick]
    marks: list[Column]
    """Those of the columns whose time is written below."""
    executed: str
    failed: str
    failed_share: str
    pace: str
    """Executed jobs in a minute, on average."""
    is_empty: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BOTTOM


def failures(found: Sum) -> int:
    """Attempts that raised or died, the last ones of jobs that were given up included."""
    return found.outcomes["failed"] + found.outcomes["discarded"]


def chart(series: Series, now: datetime) -> Chart:
    """Lay the window out."""
    tops = [bar.sum.outcomes["executed"] + failures(bar.sum) for bar in series.bars]
    most = _round_up(max(tops))
    columns = _columns(series, most)
    executed, failed = series.total.outcomes["executed"], failures(series.total)
    minutes = max(1.0, (now - series.since).total_seconds() / 60)
    return Chart(
        name=series.window.name,
        begin=columns[0].begin,
        columns=columns,
        ticks=[Tick(_height(most, most, TOP), wording.count(most)), Tick(HEIGHT - BOTTOM, "0")],
        marks=columns[:: MARKED[series.window.name]],
        executed=wording.count(executed),
        failed=wording.count(failed),
        failed_share=wording.share(failed, executed + failed),
        pace=_pace(executed / minutes),
        is_empty=not any(tops),
    )


def _columns(series: Series, most: int) -> list[Column]:
    place = (WIDTH - LEFT) / len(series.bars)
    columns = []
    for number, bar in enumerate(series.bars):
        executed, failed = bar.sum.outcomes["executed"], failures(bar.sum)
        y, top = _height(executed, most, TOP), _height(executed + failed, most, TOP)
        columns.append(
            Column(
                x=round(LEFT + place * (number + GAP / 2), 1),
                width=round(place * (1 - GAP), 1),
                y=y,
                height=round(HEIGHT - BOTTOM - y, 1),
                failed_y=top,
                failed_height=round(y - top, 1),
                begin=clock.as_field_value(bar.begin),
                end=clock.as_field_value(bar.begin + timedelta(seconds=series.window.width)),
                executed=wording.count(executed),
                failed=wording.count(failed),
                cancelled=wording.count(bar.sum.outcomes["cancelled"]),
            )
        )
    return columns


def _height(value: int, most: int, top: int) -> float:
    """Where a bar of that value ends, from above."""
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - top) * value / most, 1)


def _round_up(value: int) -> int:
    """To a number that is read at a glance: 1, 2 or 5, with zeros."""
    if value <= 1:
        return 1
    power = int(10 ** math.floor(math.log10(value)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _pace(per_minute: float) -> str:
    return wording.decimal(per_minute, 0 if per_minute >= 9.95 else 1)
