"""How a job's transaction travels to the server: in seven messages, or in two and the job's own.

::

    one by one    BEGIN, the claim, SAVEPOINT … RELEASE, the mark, COMMIT
    coalesced     (BEGIN; the claim; SAVEPOINT) … (RELEASE; the mark; COMMIT)

A short job costs mostly its messages: on PostgreSQL the second form takes about a third less time.
In it the blocks are Django's own, of atomic(), and keep its books; but entered, and left after all
has gone well, they write down what Django would have sent, and send nothing. What does not end well
goes Django's way in either form: statement by statement. So does everything while somebody looks at
the connection's statements, as with DEBUG or with an execute_wrapper().
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import conf, plans, wire
from django_async.errors import TransactionEnded
from django_async.locks import Row, ask_cursor
from django_async.trouble import is_aborted, is_idle, is_within_transaction

SAVEPOINT = "django_async_job"

_NOTHING_MARKED = "22012"
"""division_by_zero, which keeps the COMMIT behind a mark that has met no row from being reached."""

_NO_SUCH_SAVEPOINT = "3B001"


def form_for(connection: BaseDatabaseWrapper) -> OneByOne:
    """The form for the transaction that is about to begin on this connection."""
    return Coalesced(connection) if _can_coalesce(connection) else OneByOne(connection)


class OneByOne:
    """Each statement is a message of its own."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def transaction(self) -> AbstractContextManager[None]:
        """The block of the transaction, the outermost one (durable)."""
        return transaction.atomic(using=self.connection.alias, durable=True)

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
        try:
            return plans.send(
                [("BEGIN", ()), (sql, params), (f"SAVEPOINT {SAVEPOINT}", ())],
                self.connection,
                answer=1,
            )
        except DatabaseError as error:
            if not plans.goes_on_without(error):
                raise
            wire.send("ROLLBACK", [], self.connection)
            return self.first(sql, params)

    def transaction(self) -> AbstractContextManager[None]:
        return _Transaction(self.connection)

    def savepoint(self) -> AbstractContextManager[None]:
        return _Savepoint(self.connection)

    def last(self, sql: str, params: Sequence[Any]) -> bool:
        """Send the mark, and commit if it has met the row.

        Raises:
            TransactionEnded: the job has ended the transaction, and begun another one.
        """
        mark = f"WITH marked AS ({sql} RETURNING 1) SELECT 1 / COUNT(*) FROM marked"
        release = f"RELEASE SAVEPOINT {SAVEPOINT}"
        try:
            plans.send([(release, ()), (mark, params), ("COMMIT", ())], self.connection)
        except DatabaseError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state == _NO_SUCH_SAVEPOINT:
                raise TransactionEnded from error
            if state == _NOTHING_MARKED and is_aborted(self.connection):
                return False
            raise
        return True


class _Block(transaction.Atomic):
    """A block of Django's, whose first and last statement travel with others."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__(connection.alias, savepoint=True, durable=True)
        self.connection = connection


class _Transaction(_Block):
    """The outermost one. Its BEGIN goes with the claim, and its COMMIT with the mark."""

    def __enter__(self) -> None:
        self._set_autocommit(False)
        self.connection.commit_on_exit, self.connection.needs_rollback = True, False
        self.connection.in_atomic_block = True
        self.connection.atomic_blocks.append(self)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind or self.connection.needs_rollback or not is_idle(self.connection):
            super().__exit__(kind, error, trace)
            return
        self.connection.atomic_blocks.pop()
        self.connection.in_atomic_block = self.connection.errors_occurred = False
        self._set_autocommit(True)

    def _set_autocommit(self, on: bool) -> None:
        with self.connection.wrap_database_errors:
            self.connection.connection.autocommit = on
        self.connection.autocommit = on


class _Savepoint(_Block):
    """The one around the job."""

    def __enter__(self) -> None:
        self.connection.savepoint_ids.append(SAVEPOINT)
        self.connection.atomic_blocks.append(self)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind or not is_within_transaction(self.connection):
            super().__exit__(kind, error, trace)  # raises, if there is nothing to release
            return
        self.connection.savepoint_ids.pop()
        self.connection.atomic_blocks.pop()


def _can_coalesce(connection: Any) -> bool:
    """Whether the transaction is the outermost one, its BEGIN has no options, and nobody looks."""
    if not (conf.current().coalesce and wire.can_send(connection)):
        return False
    session = connection.connection
    return (session.isolation_level, session.read_only, session.deferrable) == (None, None, None)
