"""Messages of several statements to PostgreSQL, past Django's and psycopg's cursors.

A cursor makes of one statement some hundred calls of Python, which is more than a short job's own
insert takes. A job's claim and mark are always the same and return what is known, so they are
written down here, sent by libpq (``psycopg.pq``) and read as they come.

What goes wrong is raised as Django raises it.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

IS_POSSIBLE = hasattr(select, "poll")
"""Not on Windows, where nothing is forked either."""

_FATAL_ERROR = 7
"""libpq's PGRES_FATAL_ERROR, with which a statement is answered that has failed."""


def send(
    sql: str, params: Sequence[Any], connection: BaseDatabaseWrapper, answer: int = 0
) -> tuple[Any, ...] | None:
    """Send statements as one message; the first row of the answer to the one of this number.

    Parameters are None, whole numbers, moments and texts; they are written into the statements. An
    exception of a signal's handler leaves the answers unread, and with them a session of which
    trouble.is_alive() says that it is none any more.

    Raises what Django raises: of a statement that has failed (those after it were not reached), or
    of a session that has ended.
    """
    session = connection.connection
    with connection.wrap_database_errors:
        pgconn, encoding = session.pgconn, session.info.encoding
        if params:
            sql %= tuple([_literal(one, pgconn, encoding) for one in params])
        results = _exchange(pgconn, sql.encode(encoding))
        for result in results:
            if result.status == _FATAL_ERROR:
                raise _error_of(result, encoding)
    return _first_row(results[answer], encoding)


def _literal(value: Any, pgconn: PGconn, encoding: str) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'"
    escaped: bytes = _escaping(pgconn).escape_literal(value.encode(encoding))
    return escaped.decode(encoding)


def _exchange(pgconn: PGconn, message: bytes) -> list[PGresult]:
    poll = select.poll()
    pgconn.send_query(message)
    poll.register(pgconn.socket, select.POLLIN | select.POLLOUT)
    while pgconn.flush():  # a long one: while the server answers it may not take more
        if any(events & select.POLLIN for _, events in poll.poll()):
            pgconn.consume_input()
    poll.modify(pgconn.socket, select.POLLIN)
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            poll.poll()
            pgconn.consume_input()
        if (result := pgconn.get_result()) is None:
            return results
        results.append(result)


def _first_row(result: PGresult, encoding: str) -> tuple[Any, ...] | None:
    if not result.ntuples:
        return None
    columns = range(result.nfields)
    values = [result.get_value(0, column) for column in columns]
    readers = [_READERS.get(result.ftype(column), str) for column in columns]
    return tuple(
        [
            None if value is None else read(value.decode(encoding))
            for read, value in zip(readers, values, strict=True)
        ]
    )


def _moment(text: str) -> datetime | str:
    """A moment; what Python's calendar does not have stays a text."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


_READERS: dict[int, Callable[[str], Any]] = {20: int, 21: int, 23: int, 1184: _moment}
"""By PostgreSQL's numbers of its types int8, int2, int4 and timestamptz."""


def _escaping(pgconn: PGconn) -> Any:
    from psycopg.pq import Escaping

    return Escaping(pgconn)


def _error_of(result: PGresult, encoding: str) -> Exception:
    from psycopg.errors import error_from_result

    return error_from_result(result, encoding)
