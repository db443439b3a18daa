"""Messages of several statements to MariaDB and MySQL, past Django's and mysqlclient's cursors.

A session of mysqlclient takes them unless it is told not to (``multi_statements``). The server
carries them out one after the other, and answers each, up to the first that fails. Values come back
as from a cursor; what goes wrong is raised as Django raises it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import workplace
from django_async.trouble import is_between
from django_async.wire import Row, Statement

MULTI_STATEMENTS = 1 << 16
"""The protocol's flag CLIENT_MULTI_STATEMENTS."""


def can_send(connection: Any) -> bool:
    """Whether a message may go out now: outside of transactions, while nobody looks at the
    connection's statements, and if the session takes several at once."""
    session = connection.connection
    if connection.vendor != "mysql" or session is None:
        return False
    takes_several = getattr(session, "client_flag", 0) & MULTI_STATEMENTS
    if not (takes_several and hasattr(session, "store_result")):  # no other driver has this one
        return False
    return is_between(connection) and workplace.may_be_bypassed(connection)


def send(
    statements: Sequence[Statement], connection: BaseDatabaseWrapper, answer: int = 0
) -> Row | None:
    """Send statements as one message; the first row of the answer to the one of this number.

    An exception of a signal's handler leaves answers unread, and with them a session that takes
    nothing any more: trouble.is_alive() says so.

    Raises what Django raises: of a statement that has failed (those after it were not reached), or
    of a session that has ended.
    """
    session = connection.connection
    with connection.wrap_database_errors:
        message = b"; ".join([_bound(sql, params, session) for sql, params in statements])
        return _exchange(session, message, answer)


def _bound(sql: str, params: Sequence[Any], session: Any) -> bytes:
    statement = sql.encode(session.encoding)
    if not params:
        return statement
    bound: bytes = statement % tuple(map(session.literal, params))
    return bound


def _exchange(session: Any, message: bytes, answer: int) -> Row | None:
    found: Row | None = None
    session.query(message)
    for number in count():
        result = session.store_result()
        if result and number == answer:
            found = next(iter(result.fetch_row()), None)
        if session.next_result() == -1:
            break
    return found
