"""How a job's transaction travels to the server: in seven messages, or in two and the job's own.

::

    one by one    BEGIN, the claim, SAVEPOINT … RELEASE, the mark, COMMIT
    coalesced     (BEGIN; the claim; SAVEPOINT) … (RELEASE; the mark; COMMIT)

A short job costs mostly its messages: on PostgreSQL the second form takes about a third less time.
In both Django's own atomic() keeps the books. In the second one SAVEPOINT and RELEASE are written
down where Django would send them, and its COMMIT finds nothing left to commit. What does not end
well goes Django's way in either: statement by statement. So does everything while somebody looks at
the connection's statements, as with DEBUG or with an execute_wrapper().
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import conf, plans, wire, workplace
from django_async.errors import TransactionEnded
from django_async.locks import Row, ask_cursor
from django_async.trouble import is_aborted, is_psycopg3, is_within_transaction

SAVEPOINT = "django_async_job"

_NOTHING_MARKED = "22012"
"""division_by_zero, which keeps the COMMIT behind a mark that has met no row from being reached."""

_NO_SUCH_SAVEPOINT = "3B001"


def form_for(connection: BaseDatabaseWrapper) -> OneByOne:
    """The form for a transaction of this connection, in whose atomic block the caller is."""
    return Coalesced(connection) if _can_coalesce(connection) else OneByOne(connection)


class OneByOne:
    """Each statement is a message of its own."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def first(self, sql: str, params: Sequence[Any]) -> Row | None:
        """Send the transaction's first statement, the claim; the row that it returns."""
        return ask_cursor(self.connection, sql, params)

    def savepoint(self) -> AbstractContextManager[None]:
        """The block in which the job runs."""
        return transaction.atomic(using=self.connection.alias)

    def last(self, sql: str, params: Sequence[Any]) -> bool:
        """Send the transaction's last statement, the mark; whether it has met a row."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return bool(cursor.rowcount == 1)


class Coalesced(OneByOne):
    """BEGIN and SAVEPOINT travel with the claim, RELEASE and COMMIT with the mark."""

    def first(self, sql: str, params: Sequence[Any]) -> Row | None:
        planned = plans.planned(sql, self.connection)
        message = f"BEGIN; {planned}; SAVEPOINT {SAVEPOINT}"
        try:
            return wire.send(message, params, self.connection, answer=1)
        except DatabaseError as error:
            if planned == sql or not plans.is_gone(error):
                raise
            plans.give_up()
            wire.send("ROLLBACK", [], self.connection)
            return self.first(sql, params)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        block = transaction.Atomic(self.connection.alias, savepoint=True, durable=False)
        self.connection.savepoint_ids.append(SAVEPOINT)
        self.connection.atomic_blocks.append(block)
        try:
            yield
        except BaseException:
            block.__exit__(*sys.exc_info())
            raise
        if is_within_transaction(self.connection):
            self.connection.savepoint_ids.pop()
            self.connection.atomic_blocks.pop()
        else:
            block.__exit__(None, None, None)  # raises, since there is nothing to release

    def last(self, sql: str, params: Sequence[Any]) -> bool:
        """Send the mark, and commit if it has met the row.

        Raises:
            TransactionEnded: the job has ended the transaction, and begun another one.
        """
        mark = f"WITH marked AS ({sql} RETURNING 1) SELECT 1 / COUNT(*) FROM marked"
        message = f"RELEASE SAVEPOINT {SAVEPOINT}; {plans.planned(mark, self.connection)}; COMMIT"
        try:
            wire.send(message, params, self.connection)
        except DatabaseError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state == _NO_SUCH_SAVEPOINT:
                raise TransactionEnded from error
            if state == _NOTHING_MARKED and is_aborted(self.connection):
                return False
            raise
        return True


def _can_coalesce(connection: BaseDatabaseWrapper) -> bool:
    """Whether the transaction is the outermost one, its BEGIN has no options, and nobody looks."""
    if not (conf.current().coalesce and wire.IS_POSSIBLE and is_psycopg3(connection)):
        return False
    session = connection.connection
    options = session.isolation_level, session.read_only, session.deferrable
    outermost = len(connection.atomic_blocks) == 1 and connection.commit_on_exit
    is_plain = outermost and options == (None, None, None)
    return is_plain and not workplace.is_watched(connection)
