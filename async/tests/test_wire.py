"""Messages past the cursors: what comes back, and what is raised, is what Django's give."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.db import DataError, OperationalError, ProgrammingError, connection

from django_async import trouble, wire
from suite.cutting import Cut, cut_at

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL's driver"),
]


SYNC = 10
"""libpq's PGRES_PIPELINE_SYNC."""


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


@pytest.mark.parametrize("value", [*VALUES, datetime(2026, 10, 25, 1, 30, tzinfo=UTC)])
@pytest.mark.parametrize("use_tz", [False, True])
def test_rows_are_those_of_a_cursor(settings: Any, value: Any, use_tz: bool) -> None:
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Asia/Kathmandu"
    connection.close()
    connection.ensure_connection()
    kind = {int: "bigint", datetime: "timestamptz"}.get(type(value), "text")
    sql = f"SELECT number, %s::{kind}, NULL FROM generate_series(1, 3) number"
    with connection.cursor() as cursor:
        cursor.execute(sql, [value])
        rows = cursor.fetchall()
    assert list(map(repr, wire.ask(sql, [value], connection))) == list(map(repr, rows))
    connection.close()


def test_what_no_driver_can_read_is_djangos_error() -> None:
    with pytest.raises(DataError):
        wire.ask("SELECT 'infinity'::timestamptz", [], connection)


def test_a_notification_that_comes_with_the_answer_is_heard() -> None:
    heard: list[str] = []
    connection.connection.add_notify_handler(lambda one: heard.append(one.payload))
    with connection.cursor() as cursor:
        cursor.execute("LISTEN something")
    ask("NOTIFY something, 'new'")
    assert heard == ["new"]
    connection.close()


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


def prepare_two() -> None:
    wire.prepare(b"one", "SELECT $1::text", connection)
    wire.prepare(b"two", "SELECT 2 WHERE $1::int = 2", connection)


@pytest.mark.parametrize(
    "act",
    [
        lambda: wire.send("SELECT %s; SELECT 2", ["one"], connection),
        lambda: wire.execute([(b"one", ["one"]), (b"two", [2])], connection),
        lambda: wire.ask("", ["one"], connection, b"one"),
        lambda: wire.prepare(b"three", "SELECT 3", connection),
    ],
    ids=["send", "execute", "ask", "prepare"],
)
def test_a_session_that_is_cut_off_anywhere_is_whole_or_known_to_be_none(
    act: Callable[[], object],
) -> None:
    for number in count():
        connection.close()
        connection.ensure_connection()
        prepare_two()
        try:
            with cut_at(number, wire):
                act()
        except Cut:
            if trouble.is_alive(connection):
                assert ask("SELECT %s", "whole") == ("whole",)
        else:
            break
    assert number > 5
    connection.close()


def test_prepared_statements_are_executed_as_one_message() -> None:
    prepare_two()
    calls: list[wire.Call] = [(b"one", ["it's"]), (b"two", [2]), (b"two", [3]), (b"one", [None])]
    answers = [wire.execute(calls, connection, answer) for answer in range(4)]
    assert answers == [("it's",), (2,), None, (None,)]
    assert wire.ask("", ["it's"], connection, b"one") == [("it's",)]
    connection.close()


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ([(b"two", ["no number"]), (b"three", [])], DataError),
        ([(b"one", [""]), (b"missing", []), (b"three", [])], ProgrammingError),
    ],
)
def test_an_error_in_a_pipeline_is_djangos_and_nothing_after_it_is_done(
    calls: list[wire.Call], error: type[Exception]
) -> None:
    prepare_two()
    wire.prepare(b"three", "SELECT set_config('application_name', 'after it', false)", connection)
    with pytest.raises(error) as caught:
        wire.execute(calls, connection)
    assert getattr(caught.value.__cause__, "sqlstate", None)
    assert ask("SELECT current_setting('application_name')") != ("after it",)
    connection.close()


def test_the_end_of_the_session_ends_a_pipeline() -> None:
    wire.prepare(b"end", "SELECT pg_terminate_backend(pg_backend_pid())", connection)
    wire.prepare(b"sleep", "SELECT pg_sleep(60)", connection)
    with pytest.raises(OperationalError):
        wire.execute([(b"end", []), (b"sleep", [])], connection)
    assert not trouble.is_alive(connection)
    with pytest.raises(OperationalError):
        wire.execute([(b"end", [])], connection)
    connection.close()


class Ended:
    """A session that has ended after so many answers to a pipeline, of which libpq says no more."""

    def __init__(self, session: Any, answers: int) -> None:
        self.session = session
        self.left = answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    @property
    def status(self) -> int:
        return 1  # CONNECTION_BAD

    def get_result(self) -> Any:
        self.left -= 1
        if self.left >= 0:
            return self.session.get_result()
        while (result := self.session.get_result()) is None or result.status != SYNC:
            pass
        return None


@pytest.mark.parametrize("answers", [0, 1])
def test_a_pipeline_of_which_answers_are_missing_has_failed(
    monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    """Though those that came are good: the last one is that to COMMIT."""
    prepare_two()
    receive: Any = wire._receive
    monkeypatch.setattr(wire, "_receive", lambda one, **how: receive(Ended(one, answers), **how))
    try:
        with pytest.raises(OperationalError, match="session has ended"):
            wire.execute([(b"one", ["it's"]), (b"two", [2])], connection)
        assert not trouble.is_alive(connection)
    finally:
        connection.close()


def test_what_a_signals_handler_cuts_off_is_a_session_no_more() -> None:
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
