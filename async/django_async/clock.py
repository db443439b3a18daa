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

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone


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
    connection = connections[using]
    if connection.vendor == "sqlite":
        return timezone.now()
    sql = "UTC_TIMESTAMP(6)" if connection.vendor == "mysql" else "CLOCK_TIMESTAMP()"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql}")
        [moment] = cursor.fetchone()
    return _as_field_value(moment.replace(tzinfo=UTC) if connection.vendor == "mysql" else moment)


def statement_time(connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    """SQL and its parameters for the time against which due-ness is judged."""
    return _sql(connection, "STATEMENT_TIMESTAMP()")


def stamp(connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    """SQL and its parameters for the time at which something happens."""
    return _sql(connection, "CLOCK_TIMESTAMP()")


def _sql(connection: BaseDatabaseWrapper, postgresql: str) -> tuple[str, list[Any]]:
    if connection.vendor == "postgresql":
        return postgresql, []
    if connection.vendor == "mysql":
        return "(UTC_TIMESTAMP(6) + INTERVAL %s SECOND)", [_offset(connection)]
    return "%s", [connection.ops.adapt_datetimefield_value(timezone.now())]


def _offset(connection: BaseDatabaseWrapper) -> int:
    """Seconds from UTC to the wall clock in which Django stores times through this connection."""
    zone = connection.timezone or timezone.get_default_timezone()
    offset = datetime.now(zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _as_field_value(value: datetime) -> datetime:
    if timezone.is_naive(value):  # PostgreSQL's, without USE_TZ: in the session's zone already
        return value
    if settings.USE_TZ:
        return value.astimezone(UTC)
    return timezone.make_naive(value, timezone.get_default_timezone())
