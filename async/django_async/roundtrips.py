"""How a job's transaction travels to the server: in seven messages, or in two and the job's own.

::

    one by one    BEGIN, the claim, SAVEPOINT … RELEASE, the mark, COMMIT
    coalesced     (BEGIN; the claim; SAVEPOINT) … (RELEASE; the mark; COMMIT)

A short job costs mostly its messages: the second form takes about a third less time.
In it the blocks are Django's own, of atomic(), and keep its books; but entered, and left after all
has gone well, they write down what Django would have sent, and send nothing. What does not end well
goes Django's way in either form: statement by statement. So does everything while somebody looks at
the connection's statements, as with DEBUG or with an execute_wrapper().
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import conf, multiquery, plans, wire
from django_async.errors import TransactionEnded
from django_async.locks import Row, ask_cursor
from django_async.trouble import error_number, is_aborted, is_idle, is_within_transaction
from django_async.wire import Statement

SAVEPOINT = "django_async_job"

DIVISION_BY_ZERO = "22012"
"""As PostgreSQL numbers it."""

NO_SUCH_SAVEPOINT = "3B001"
"""An SQLSTATE."""

DOES_NOT_EXIST = 1305
"""MariaDB's and MySQL's ER_SP_DOES_NOT_EXIST."""

OUT_OF_RANGE = 1690
"""MariaDB's and MySQL's ER_DATA_OUT_OF_RANGE."""


def form_for(connection: BaseDatabaseWrapper) -> OneByOne:
    """The form for the transaction that is about to begin on this connection."""
    if conf.current().coalesce:
        if wire.can_send(connection) and _begins_plainly(connection):
            return OnPostgreSQL(connection)
        if multiquery.can_send(connection):
            return OnMySQL(connection)
    return OneByOne(connection)


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


class Coalesced(OneByOne, ABC):
    """BEGIN and SAVEPOINT travel with the claim, RELEASE and COMMIT with the mark.

    Attributes:
        begin: what begins the transaction.
        commit: what ends it.
    """

    begin: str
    commit: Sequence[str]

    def first(self, sql: str, params: Sequence[Any]) -> Row | None:
        savepoint = f"SAVEPOINT {SAVEPOINT}", ()
        return self.send([(self.begin, ()), (sql, params), savepoint], answer=1)

    def transaction(self) -> AbstractContextManager[None]:
        return _Transaction(self.connection)

    def savepoint(self) -> AbstractContextManager[None]:
        return _Savepoint(self.connection)

    def last(self, sql: str, params: Sequence[Any]) -> bool:
        """Send the mark, and commit if it has met the row.

        Raises:
            TransactionEnded: the job has ended the transaction, and begun another one.
        """
        release = f"RELEASE SAVEPOINT {SAVEPOINT}", ()
        commit = [(one, ()) for one in self.commit]
        try:
            self.send([release, *self.mark(sql, params), *commit])
        except DatabaseError as error:
            if self.says_no_savepoint(error):
                raise TransactionEnded from error
            if self.says_nothing_marked(error):
                return False
            raise
        return True

    @abstractmethod
    def mark(self, sql: str, params: Sequence[Any]) -> Iterator[Statement]:
        """The mark, so that it fails if it meets no row: a COMMIT behind it is not reached then."""

    @abstractmethod
    def says_no_savepoint(self, error: DatabaseError) -> bool:
        """Whether there was no savepoint to be released: this transaction is another one."""

    @abstractmethod
    def says_nothing_marked(self, error: DatabaseError) -> bool:
        """Whether it was that."""

    @abstractmethod
    def send(self, statements: Sequence[Statement], answer: int = 0) -> Row | None:
        """Send statements as one message; the first row of the answer to the one of this number."""


class OnPostgreSQL(Coalesced):
    """Prepared, and executed by their names (plans.py)."""

    begin, commit = "BEGIN", ("COMMIT",)

    def mark(self, sql: str, params: Sequence[Any]) -> Iterator[Statement]:
        yield f"WITH marked AS ({sql} RETURNING 1) SELECT 1 / COUNT(*) FROM marked", params

    def says_no_savepoint(self, error: DatabaseError) -> bool:
        # A deferred constraint that raises the same has ended the transaction. So below.
        return error_number(error) == NO_SUCH_SAVEPOINT and is_aborted(self.connection)

    def says_nothing_marked(self, error: DatabaseError) -> bool:
        return error_number(error) == DIVISION_BY_ZERO and is_aborted(self.connection)

    def send(self, statements: Sequence[Statement], answer: int = 0) -> Row | None:
        return plans.send(statements, self.connection, answer)

    def first(self, sql: str, params: Sequence[Any]) -> Row | None:
        try:
            return super().first(sql, params)
        except DatabaseError as error:
            if not plans.goes_on_without(error):
                raise
            wire.send("ROLLBACK", [], self.connection)
            return self.first(sql, params)


class OnMySQL(Coalesced):
    """Also on MariaDB. As Django has it, the session begins transactions by itself meanwhile: what
    a job does behind a COMMIT of its own is in one, too."""

    begin, commit = "SET autocommit = 0", ("COMMIT", "SET autocommit = 1")

    def mark(self, sql: str, params: Sequence[Any]) -> Iterator[Statement]:
        yield sql, params
        # With a LIMIT of its own: a job may have set sql_select_limit to 0.
        yield f"SELECT {2**63 - 1} + (ROW_COUNT() <> 1) LIMIT 1", ()

    def says_no_savepoint(self, error: DatabaseError) -> bool:
        # The same number is that of a procedure that does not exist.
        return error_number(error) == DOES_NOT_EXIST and SAVEPOINT in str(error)

    def says_nothing_marked(self, error: DatabaseError) -> bool:
        # A trigger of the application's may go out of range as well.
        return error_number(error) == OUT_OF_RANGE and "row_count()" in str(error).lower()

    def send(self, statements: Sequence[Statement], answer: int = 0) -> Row | None:
        return multiquery.send(statements, self.connection, answer)


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
        if self.connection.vendor == "postgresql":  # where psycopg would begin transactions
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


def _begins_plainly(connection: Any) -> bool:
    """Whether BEGIN has no options."""
    session = connection.connection
    return (session.isolation_level, session.read_only, session.deferrable) == (None, None, None)
