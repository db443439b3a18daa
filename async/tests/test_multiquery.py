"""Messages of several statements to MariaDB: what comes back, and what is raised, is what Django's
cursors give."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection

from django_async import multiquery, trouble
from django_async.wire import Statement
from suite.cutting import Cut, cut_at

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "mysql", reason="of mysqlclient"),
]


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    connection.ensure_connection()
    yield
    connection.close()


def ask(sql: str, *params: Any, answer: int = 0) -> tuple[Any, ...] | None:
    statements: list[Statement] = [("SELECT 1", ()), (sql, params), ("DO 0", ())]
    return multiquery.send(statements, connection, answer=1 + answer)


VALUES: list[Any] = [
    None,
    0,
    -(2**31),
    2**62,
    "",
    "it's",
    "back\\slash",
    "%s",
    "ä→𝄞",
    "1",
    "; DO 1 --",
]
VALUES += [datetime(2026, 10, 25, 1, 30, 0, 123)]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_comes_back_as_from_a_cursor(value: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [value])
        row = cursor.fetchone()
    assert ask("SELECT %s", value) == row


def test_of_several_statements_one_is_answered() -> None:
    assert ask("SELECT %s", "two") == ("two",)
    assert ask("SELECT 1 FROM DUAL WHERE %s", 0) is None
    assert ask("SELECT 1", answer=-1) == (1,)
    assert ask("SELECT 1", answer=1) is None


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 9223372036854775807 + 1", OperationalError),
        ("SELECT nothing", OperationalError),
        ("SELECT", ProgrammingError),
    ],
)
def test_an_error_is_djangos_and_nothing_after_it_is_done(sql: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        multiquery.send([("DO 0", ()), (sql, ()), ("SET @after = 'it'", ())], connection)
    assert trouble.error_number(caught.value)
    assert ask("SELECT @after") == (None,)


def test_the_end_of_the_session_is_an_operational_error() -> None:
    with pytest.raises(OperationalError):
        ask("KILL CONNECTION_ID()")
    assert not trouble.is_alive(connection)


def test_a_session_that_is_cut_off_anywhere_is_whole_or_known_to_be_none() -> None:
    cut_off = 0
    for number in count():
        connection.close()
        connection.ensure_connection()
        try:
            with cut_at(number, multiquery):
                ask("SELECT %s", "one")
        except Cut:
            if trouble.is_alive(connection):
                assert ask("SELECT %s", "whole") == ("whole",)
            else:
                cut_off += 1
        else:
            break
    assert cut_off > 3
