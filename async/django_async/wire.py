"""Messages of one or several statements to PostgreSQL, past Django's and psycopg's cursors.

A cursor makes of one statement some hundred calls of Python, which is more than a short job's own
insert takes. A job's claim and mark, and what a parent asks again and again, are always the same:
they are sent by libpq (``psycopg.pq``), as they are or by the names under which the session has
prepared them, and their answers read as they come.

What goes wrong is raised as Django raises it.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import workplace
from django_async.trouble import is_between, is_psycopg3

if TYPE_CHECKING:
    from psycopg.abc import Transformer
    from psycopg.pq.abc import Escaping, PGconn, PGresult

IS_POSSIBLE = hasattr(select, "poll")
"""Not on Windows, where nothing is forked either."""

_FATAL_ERROR, _PIPELINE_SYNC = 7, 10
"""libpq's PGRES_FATAL_ERROR, with which a statement is answered that has failed, and the end of the
answers to a pipeline."""

_OK = 0
"""libpq's CONNECTION_OK."""

_PIPELINES = 140_000
"""The version of libpq that has them."""


Row = tuple[Any, ...]

Statement = tuple[str, Sequence[Any]]
"""And its parameters."""

Call = tuple[bytes, Sequence[Any]]
"""The name of a prepared statement, and its parameters."""


def can_send(connection: Any) -> bool:
    """Whether a message may go out now: outside of transactions, and while nobody looks at the
    connection's statements."""
    can = IS_POSSIBLE and is_psycopg3(connection) and is_between(connection)
    return can and workplace.may_be_bypassed(connection)


@cache
def has_pipelines() -> bool:
    """Whether libpq can send several prepared statements as one message."""
    from psycopg import pq

    return pq.version() >= _PIPELINES


def send(
    sql: str, params: Sequence[Any], connection: BaseDatabaseWrapper, answer: int = 0
) -> Row | None:
    """Send statements as one message; the first row of the answer to the one of this number.

    Parameters are None, whole numbers, moments and texts without NUL; here they are written into
    the statements. An exception of a signal's handler leaves the answers unread, and with them a
    session of which trouble.is_alive() says that it is none any more.

    Raises what Django raises: of a statement that has failed (those after it were not reached), or
    of a session that has ended.
    """
    session = connection.connection
    with connection.wrap_database_errors:
        results = _query(sql, params, session)
    return _first_row(results[answer], session.info.encoding)


def execute(calls: Sequence[Call], connection: BaseDatabaseWrapper, answer: int = 0) -> Row | None:
    """The same of statements that the session has prepared: of each its name, and parameters."""
    session = connection.connection
    pgconn, encoding = session.pgconn, session.info.encoding
    with connection.wrap_database_errors:
        _begin_pipeline(pgconn)
        for name, params in calls:
            pgconn.send_query_prepared(name, [_text(one, encoding) for one in params])
        pgconn.pipeline_sync()
        results = _receive(pgconn, is_pipeline=True)
        pgconn.exit_pipeline_mode()
        _check(results, encoding)
    return _first_row(results[answer], encoding)


def prepare(name: bytes, sql: str, connection: BaseDatabaseWrapper) -> None:
    """Have the session prepare a statement, with parameters $1, $2 …; raises what send() raises."""
    session = connection.connection
    with connection.wrap_database_errors:
        session.pgconn.send_prepare(name, sql.encode(session.info.encoding))
        _check(_receive(session.pgconn), session.info.encoding)


def ask(
    sql: str, params: Sequence[Any], connection: BaseDatabaseWrapper, name: bytes | None = None
) -> list[Row]:
    """Send a statement, or execute the one that was prepared by this name; all rows of the answer,
    with values as Django's cursors give them. Raises what send() raises."""
    session = connection.connection
    with connection.wrap_database_errors:
        results = _run(name, params, session) if name else _query(sql, params, session)
        transformer = _transformer()(session)
        transformer.set_pgresult(results[0])
        return transformer.load_rows(0, results[0].ntuples, tuple)


def _begin_pipeline(pgconn: PGconn) -> None:
    """Raises psycopg's error if the job has left one open, in whose answers these would be lost."""
    if pgconn.pipeline_status:
        raise _operational_error("a pipeline was left open")
    pgconn.enter_pipeline_mode()


def _query(sql: str, params: Sequence[Any], session: Any) -> list[PGresult]:
    pgconn, encoding = session.pgconn, session.info.encoding
    if params:
        sql %= tuple([_literal(one, pgconn, encoding) for one in params])
    pgconn.send_query(sql.encode(encoding))
    results = _receive(pgconn)
    _check(results, encoding)
    return results


def _run(name: bytes, params: Sequence[Any], session: Any) -> list[PGresult]:
    pgconn, encoding = session.pgconn, session.info.encoding
    pgconn.send_query_prepared(name, [_text(one, encoding) for one in params])
    results = _receive(pgconn)
    _check(results, encoding)
    return results


def _check(results: list[PGresult], encoding: str) -> None:
    for result in filter(_has_failed, results):
        raise _error_of(result, encoding)


def _has_failed(result: PGresult) -> bool:
    return result.status == _FATAL_ERROR


def _text(value: Any, encoding: str) -> bytes | None:
    """A value as a parameter's text."""
    if value is None:
        return None
    return (value.isoformat() if isinstance(value, datetime) else str(value)).encode(encoding)


def _literal(value: Any, pgconn: PGconn, encoding: str) -> str:
    """A value as it is written into a statement."""
    text = _text(value, encoding)
    if text is None:
        return "NULL"
    literal = text if isinstance(value, int) else _escaping()(pgconn).escape_literal(text)
    return literal.decode(encoding)


def _receive(pgconn: PGconn, *, is_pipeline: bool = False) -> list[PGresult]:
    """Send what is still to be sent, and wait for all answers. Raises psycopg's error if some are
    missing, and none says why: they may be those that came before the one to COMMIT."""
    poll = select.poll()
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
        result = pgconn.get_result()
        if result and result.status != _PIPELINE_SYNC:
            results.append(result)
        elif result or not is_pipeline or pgconn.status != _OK:
            break  # a pipeline has a None after each statement, and goes on in a live session
    is_cut_short = is_pipeline and not result and not any(map(_has_failed, results))
    if is_cut_short or not results:
        raise _operational_error("the session has ended, and answers are missing")
    while notification := pgconn.notifies():  # that came with the answers: no other is to come
        if pgconn.notify_handler:
            pgconn.notify_handler(notification)
    return results


def _first_row(result: PGresult, encoding: str) -> Row | None:
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


@cache
def _escaping() -> type[Escaping]:
    from psycopg.pq import Escaping

    return Escaping


@cache
def _transformer() -> Callable[[Any], Transformer]:
    from psycopg.adapt import Transformer

    return Transformer


def _error_of(result: PGresult, encoding: str) -> Exception:
    from psycopg.errors import error_from_result

    return error_from_result(result, encoding)


def _operational_error(message: str) -> Exception:
    from psycopg import OperationalError

    return OperationalError(message)
