"""Messages past the cursors: what comes back, and what is raised, is what Django's give."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError, ProgrammingError, connection

from django_async import trouble, wire

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL's driver"),
]


@pytest.fixture(autouse=True)
def session() -> None:
    connection.ensure_connection()


def ask(sql: str, *params: Any) -> tuple[Any, ...] | None:
    return wire.send(sql, params, connection)


VALUES = [None, 0, -(2**31), 2**62, "", "it's", "back\\slash", "%s", "ä→𝄞", "1", "NULL"]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_comes_back_as_from_a_cursor(value: Any) -> None:
    kind = "bigint" if isinstance(value, int) else "text"
    assert ask(f"SELECT %s::{kind}", value) == (value,)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}", [value])
        assert cursor.fetchone() == (value,)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Europe/Berlin"])
@pytest.mark.parametrize("year", [1850, 2026])  # before there were zones, offsets had seconds
def test_a_moment_is_the_same_in_every_time_zone(zone: str, year: int) -> None:
    moment = datetime(year, 10, 25, 1, 30, 0, 123, tzinfo=UTC)
    with connection.cursor() as cursor:
        cursor.execute("SET TimeZone = %s", [zone])
    try:
        assert ask("SELECT %s::timestamptz", moment) == (moment,)
        assert ask("SELECT %s::timestamptz + '1h'::interval", moment) == (
            moment + timedelta(hours=1),
        )
    finally:
        connection.close()


def test_a_moment_beyond_the_calendar_stays_a_text() -> None:
    assert ask("SELECT 'infinity'::timestamptz") == ("infinity",)


def test_of_several_statements_one_is_answered() -> None:
    sql = "SELECT 1; SELECT %s; SELECT 3 WHERE false"
    assert wire.send(sql, ["two"], connection, answer=1) == ("two",)
    assert wire.send(sql, ["two"], connection, answer=2) is None


@pytest.mark.parametrize(
    ("sql", "error"),
    [("SELECT 1 / 0", DataError), ("SELECT nothing", ProgrammingError)],
)
def test_an_error_is_djangos_and_nothing_after_it_is_done(sql: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        ask(f"SELECT 1; {sql}; SET application_name = 'after it'")
    assert getattr(caught.value.__cause__, "sqlstate", None)
    assert ask("SELECT current_setting('application_name')") != ("after it",)


def test_the_end_of_the_session_is_an_operational_error() -> None:
    with pytest.raises(OperationalError):
        ask("SELECT pg_terminate_backend(pg_backend_pid()); SELECT pg_sleep(60)")
    assert not trouble.is_alive(connection)
    with pytest.raises(OperationalError):
        ask("SELECT 1")
    connection.close()


def test_what_a_signals_handler_cuts_off_is_a_session_no_more() -> None:
    class Cut(Exception):
        pass

    def cut(*_: object) -> None:
        raise Cut

    number = connection.connection.info.backend_pid
    before = signal.signal(signal.SIGALRM, cut)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Cut):
            ask("SELECT pg_sleep(60)")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not trouble.is_alive(connection)
    connection.close()
    connection.ensure_connection()
    assert ask("SELECT pg_terminate_backend(%s)::text", number) == ("true",)
