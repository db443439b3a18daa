"""What the statistics say: how much was done in the last hour, day and week, and how fast."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from django_async import clock
from django_async.histogram import percentile
from django_async.ledger import COLUMNS, Sum, slot
from django_async.slots import ALL, COARSE, FINE, LONG, Statistic

PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time up to now, in equal bars. The last bar is not over yet."""

    name: str
    width: int
    """Seconds of a bar."""
    bars: int

    def begins(self, now: datetime) -> list[datetime]:
        """When each bar begins, the oldest first."""
        last = slot(now, self.width)
        return [
            last - timedelta(seconds=self.width * (self.bars - 1 - n)) for n in range(self.bars)
        ]


HOUR = Window("hour", FINE, 12)
DAY = Window("day", COARSE, 24)
WEEK = Window("week", LONG, 28)
WINDOWS = {window.name: window for window in (HOUR, DAY, WEEK)}


@dataclass(frozen=True, slots=True)
class Bar:
    """The attempts that ended between this bar's begin and the next one's."""

    begin: datetime
    sum: Sum


@dataclass(frozen=True, slots=True)
class Series:
    """A window, bar by bar, and all of it together."""

    window: Window
    bars: list[Bar]
    total: Sum

    @property
    def since(self) -> datetime:
        """When the first bar begins."""
        return self.bars[0].begin


def series(now: datetime, windows: Iterable[Window], using: str) -> list[Series]:
    """What was attempted in each of the windows, by one query for all of them."""
    chosen = list(windows)
    since = min(window.begins(now)[0] for window in chosen)
    found = _rows(ALL, since, using).values_list("begin", *COLUMNS)
    rows = [(clock.as_utc(begin), columns) for begin, *columns in found]
    return [_series(window, now, rows) for window in chosen]


def by_label(
    scope: str, since: datetime, using: str, only: Collection[str] | None = None
) -> dict[str, Sum]:
    """What was attempted since then, by queue or by function (of these alone, if they are given);
    the most attempted first."""
    rows = _rows(scope, since, using)
    rows = rows if only is None else rows.filter(label__in=only)
    groups: dict[str, list[list[Any]]] = {}
    for label, *columns in rows.values_list("label", *COLUMNS):
        groups.setdefault(label, []).append(columns)
    found = {label: Sum.of(group) for label, group in groups.items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1].attempts, item[0])))


def percentiles(sum_: Sum) -> dict[str, list[float | None]]:
    """Seconds of waiting and of running that 50, 95 and 99 percent did not exceed."""
    return {
        "waits": [percentile(sum_.waits, percent) for percent in PERCENTS],
        "runs": [percentile(sum_.runs, percent) for percent in PERCENTS],
    }


def _rows(scope: str, since: datetime, using: str) -> QuerySet[Statistic]:
    rows = Statistic.objects.using(using)
    return rows.filter(scope=scope, begin__gte=clock.as_field_value(since)).order_by("begin")


def _series(window: Window, now: datetime, rows: list[tuple[datetime, list[Any]]]) -> Series:
    begins = window.begins(now)
    places: list[list[list[Any]]] = [[] for _ in begins]
    for begin, columns in rows:
        place = int((begin - begins[0]).total_seconds() // window.width)
        if 0 <= place < len(places):
            places[place].append(columns)
    bars = [Bar(begin, Sum.of(place)) for begin, place in zip(begins, places, strict=True)]
    return Series(window, bars, Sum.of([columns for place in places for columns in place]))
