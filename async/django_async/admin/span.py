"""A year, a month or a day, as people go through them: in the current time zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format

FORMATS = ("", "Y", "YEAR_MONTH_FORMAT", "DATE_FORMAT")


@dataclass(frozen=True, slots=True)
class Span:
    """So many of year, month and day as are said; with none of them, all times."""

    said: tuple[int, ...] = ()

    @classmethod
    def read(cls, text: str) -> Span:
        """Of 2026, 2026-11 or 2026-11-28. Raises ValueError for anything else."""
        if not re.fullmatch(r"[0-9]{4}(-[0-9]{2}){0,2}", text):
            raise ValueError(f"{text!r} is no year, month or day.")
        span = cls(tuple(map(int, text.split("-"))))
        span._after()  # which of a 30 February there is none
        return span

    def __str__(self) -> str:
        return "-".join(
            f"{number:0{4 if place == 0 else 2}}" for place, number in enumerate(self.said)
        )

    @property
    def title(self) -> str:
        """As people write it."""
        return date_format(self._first(), FORMATS[len(self.said)])

    @property
    def borders(self) -> tuple[datetime, datetime]:
        """When it begins, and when the next one does, as a model's field would hold it."""
        return _midnight(self._first()), _midnight(self._after())

    @property
    def way(self) -> list[Span]:
        """The year, the month and the day that lead here, this one last."""
        return [Span(self.said[: place + 1]) for place in range(len(self.said))]

    def parts(self, first: datetime | None, last: datetime | None) -> Iterator[Span]:
        """The years, months or days of it from the one moment to the other."""
        if first is None or last is None or len(self.said) == 3:
            return
        day = max(self._first(), _day(first)) if self.said else _day(first)
        end = min(self._after() - timedelta(days=1), _day(last)) if self.said else _day(last)
        while day <= end:
            part = Span((day.year, day.month, day.day)[: len(self.said) + 1])
            yield part
            day = part._after()

    def _first(self) -> date:
        """Its first day."""
        return date(*(*self.said, 1, 1)[:3])

    def _after(self) -> date:
        """The day after it."""
        first = self._first()
        if len(self.said) == 1:
            return date(first.year + 1, 1, 1)
        days = 1 if len(self.said) == 3 else 32
        after = first + timedelta(days=days)
        return after if len(self.said) == 3 else after.replace(day=1)


def _day(moment: datetime) -> date:
    return timezone.localdate(moment) if timezone.is_aware(moment) else moment.date()


def _midnight(day: date) -> datetime:
    midnight = datetime.combine(day, time.min)
    return timezone.make_aware(midnight) if settings.USE_TZ else midnight
