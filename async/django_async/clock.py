"""The clock of the queue is the database's, so that hosts whose clocks differ agree on what is due.

SQLite has no server: there it is this process's clock.

PostgreSQL's ``now()`` is frozen when the transaction begins: a job that came due inside a TestCase
would never be due there. ``statement_timestamp()`` moves with each statement and can still be used
in an index condition; ``clock_timestamp()`` moves within a statement too, and is for stamps.

MariaDB's and MySQL's ``NOW()`` follows the session's time zone; ``UTC_TIMESTAMP(6)`` does not. What
Django stores there is wall-clock time of the connection's zone (UTC, unless configured), so that
zone's offset is added.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone

Now = Callable[[], datetime]
"""Gives the time as an aware datetime, such as utc_now() of a database."""

_ANY_ZONE = timedelta(days=1)
"""More than any time zone's offset: a moment has to be one in each of them."""

_CLOCKS_DIFFER = timedelta(days=1)
"""What the clocks of this host and of the database may differ by."""


class DatabaseNow(Func):
    """The database's time of this statement, as an expression for the ORM."""

    template = "%(expressions)s"

    def __init__(self) -> None:
        super().__init__(output_field=DateTimeField())

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: Any, **__: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        sql, params = statement_time(connection)
        return sql, tuple(params)


def now(using: str) -> datetime:
    """The database's time, as a model's field would hold it (aware if USE_TZ)."""
    return as_field_value(utc_now(using))


def utc_now(using: str) -> datetime:
    """The database's time as an aware datetime, to which a timedelta can be added: across a change
    of the hour, wall-clock time and a timedelta make a moment an hour off."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        return datetime.now(UTC)
    sql = {"mysql": "UTC_TIMESTAMP(6)", "postgresql": "CLOCK_TIMESTAMP() AT TIME ZONE 'UTC'"}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql[connection.vendor]}")
        moment: datetime = cursor.fetchone()[0]
    return moment.replace(tzinfo=UTC)


def seconds_between(earlier: Any, later: Any) -> float | None:
    """From one moment to another, as the driver gave them: SQLite's are texts. None where one is
    missing or is none; 0 where the first comes later."""
    try:
        seconds: float = (_read(later) - _read(earlier)).total_seconds()
    except (TypeError, ValueError):
        return None
    return max(0.0, seconds)


def _read(moment: Any) -> Any:
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment


def as_field_value(moment: datetime) -> datetime:
    """An aware moment as a model's field holds it: aware if USE_TZ, else in the default zone."""
    if settings.USE_TZ:
        return moment.astimezone(UTC)
    return timezone.make_naive(moment, timezone.get_default_timezone())


def as_utc(value: datetime) -> datetime:
    """The other way round: a model field's value as an aware moment in UTC."""
    if timezone.is_naive(value):
        value = timezone.make_aware(value, timezone.get_default_timezone())
    return value.astimezone(UTC)


def moment(run_after: datetime | timedelta, now: Now) -> datetime:
    """When that is, as a model's field holds it; a naive moment is in the current time zone.

    Raises TypeError for what is neither, and ValueError beyond the calendar.
    """
    if not isinstance(run_after, (datetime, timedelta)):
        raise TypeError(f"run_after must be a datetime or a timedelta, not {run_after!r}.")
    try:
        found = _as_stored(run_after, now)
        _ = found - _ANY_ZONE, found + _ANY_ZONE
    except OverflowError as error:
        raise ValueError(f"run_after is beyond the calendar: {run_after!r}.") from error
    return found


def statement_time(connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    """SQL and its parameters for the time against which due-ness is judged."""
    return _sql(connection, "STATEMENT_TIMESTAMP()")


def stamp(connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    """SQL and its parameters for the time at which something happens."""
    return _sql(connection, "CLOCK_TIMESTAMP()")


def _as_stored(run_after: datetime | timedelta, now: Now) -> datetime:
    if isinstance(run_after, timedelta):
        return as_field_value(now() + run_after)
    if settings.USE_TZ:
        return timezone.make_aware(run_after) if timezone.is_naive(run_after) else run_after
    return timezone.make_naive(run_after) if timezone.is_aware(run_after) else run_after


def _sql(connection: BaseDatabaseWrapper, postgresql: str) -> tuple[str, list[Any]]:
    if connection.vendor == "postgresql":
        return postgresql, []
    if connection.vendor == "mysql":
        offset, params = _offset(connection)
        return f"(UTC_TIMESTAMP(6) + INTERVAL {offset} SECOND)", params
    return "%s", [connection.ops.adapt_datetimefield_value(timezone.now())]


def _offset(connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    """Seconds from UTC to the wall clock in which Django stores times through this connection.

    Around a change of the hour it is the database's clock that says which side of it this is.
    """
    zone = connection.timezone or timezone.get_default_timezone()
    here = datetime.now(UTC)
    before, after = here - _CLOCKS_DIFFER, here + _CLOCKS_DIFFER
    if (early := _offset_at(before, zone)) == (late := _offset_at(after, zone)):
        return "%s", [early]
    change = _change_between(before, after, zone).replace(tzinfo=None)
    return "IF(UTC_TIMESTAMP(6) < %s, %s, %s)", [change, early, late]


def _offset_at(moment: datetime, zone: tzinfo) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The second from which on the zone's offset is what it is at the later moment."""
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if _offset_at(middle, zone) == _offset_at(after, zone):
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)
