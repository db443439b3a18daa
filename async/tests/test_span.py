"""The years, months and days that people go through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from django_async.admin.span import Span

FIRST, LAST = datetime(2025, 11, 29, 23, 30, tzinfo=UTC), datetime(2026, 2, 2, 1, 0, tzinfo=UTC)


def parts(text: str) -> list[str]:
    span = Span.read(text) if text else Span()
    return [str(part) for part in span.parts(FIRST, LAST)]


def test_a_span_has_the_parts_in_which_something_may_have_happened() -> None:
    assert parts("") == ["2025", "2026"]
    assert parts("2025") == ["2025-11", "2025-12"]
    assert parts("2026") == ["2026-01", "2026-02"]
    assert parts("2026-02") == ["2026-02-01", "2026-02-02"]
    assert len(parts("2025-12")) == 31
    assert parts("2026-02-01") == parts("2024") == []


def test_days_are_those_of_the_current_time_zone() -> None:
    with timezone.override(ZoneInfo("Europe/Berlin")):
        assert parts("2025-11") == ["2025-11-30"]
        begin, end = Span.read("2026-03-29").borders
    assert end.astimezone(UTC) - begin.astimezone(UTC) == timedelta(hours=23)


def test_where_nothing_has_happened_there_are_no_parts() -> None:
    assert list(Span().parts(None, None)) == []


@pytest.mark.parametrize(
    ("text", "end"),
    [("2026", "2027-01-01"), ("2025-12", "2026-01-01"), ("2024-02-29", "2024-03-01")],
)
def test_a_span_ends_where_the_next_one_begins(text: str, end: str) -> None:
    assert Span.read(text).borders[1].date().isoformat() == end


def test_the_way_to_a_day_is_its_year_and_its_month() -> None:
    assert [str(span) for span in Span.read("2026-11-28").way] == ["2026", "2026-11", "2026-11-28"]
    assert [span.title for span in Span.read("2026-11-28").way] == [
        "2026",
        "November 2026",
        "Nov. 28, 2026",
    ]


@pytest.mark.parametrize(
    "text", ["", "26", "2026-13", "2026-02-30", "0000", "9999", "2026-1", "2026-01-01-01", "٢٠٢٦"]
)
def test_what_is_no_year_month_or_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no year|month|day|year"):
        Span.read(text)
