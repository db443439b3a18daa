"""How a job's transaction travels to the server: in seven messages, or in two and the job's own.

::

    one by one    BEGIN, the claim, SAVEPOINT … RELEASE, the mark, COMMIT
    coalesced     (BEGIN; the claim; SAVEPOINT) … (RELEASE; the mark; COMMIT)

A short job costs mostly its messages: on PostgreSQL the second form takes about a third less time.
In both Django's own atomic() keeps the books. In the second one SAVEPOINT and RELEASE are written
down where Django would send them, and its COMMIT finds nothing left to commit. What does not end
well goes Django's way in either: statement by statement.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import conf, plans
from django_async.errors import TransactionEnded
from django_async.locks import Claimed
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

    def claim(self, claim: Callable[[], Claimed | None]) -> Claimed | None:
        """Make the claim: the transaction's first statement."""
        return claim()

    def savepoint(self) -> AbstractContextManager[None]:
        """The block in which the job runs."""
        return transaction.atomic(using=self.connection.alias)

    def mark(self, mark: Callable[[], bool]) -> bool:
        """Make the mark: the transaction's last statement."""
        return mark()


class Coalesced(OneByOne):
    """BEGIN and SAVEPOINT travel with the claim, RELEASE and COMMIT with the mark."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__(connection)
        self._has_begun = False

    def claim(self, claim: Callable[[], Claimed | None]) -> Claimed | None:
        with self.connection.execute_wrapper(self._begin):
            return claim()

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

    def mark(self, mark: Callable[[], bool]) -> bool:
        """Make the mark, and commit if it has met the row.

        Raises:
            TransactionEnded: the job has ended the transaction, and begun another one.
        """
        try:
            with self.connection.execute_wrapper(self._commit):
                return mark()
        except DatabaseError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state == _NO_SUCH_SAVEPOINT:
                raise TransactionEnded from error
            if state == _NOTHING_MARKED and is_aborted(self.connection):
                return False
            raise

    def _begin(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self._has_begun:  # a claim may have a second statement
            return execute(sql, params, many, context)
        session = self.connection.connection
        session._autocommit = True  # else psycopg would send a BEGIN of its own first
        try:
            plans.prepare(self.connection)
            done = self._send_begin(execute, sql, params, many, context)
        finally:
            session._autocommit = False
        self._has_begun = True
        context["cursor"].nextset()
        return done

    def _send_begin(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        planned = plans.planned(sql, self.connection)
        try:
            return execute(f"BEGIN; {planned}; SAVEPOINT {SAVEPOINT}", params, many, context)
        except DatabaseError as error:
            if planned == sql or not plans.is_gone(error):
                raise
            plans.give_up()
            self.connection.connection.execute("ROLLBACK")
            return self._send_begin(execute, sql, params, many, context)

    def _commit(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        mark = f"WITH marked AS ({sql} RETURNING 1) SELECT 1 / COUNT(*) FROM marked"
        mark = plans.planned(mark, self.connection)
        sql = f"RELEASE SAVEPOINT {SAVEPOINT}; {mark}; COMMIT"
        done = execute(sql, params, many, context)
        context["cursor"].nextset()
        return done


def _can_coalesce(connection: BaseDatabaseWrapper) -> bool:
    """Whether the transaction is the outermost one, its BEGIN has no options, and the driver puts
    the parameters into the statement itself: a message with parameters has one statement only."""
    if not (conf.current().coalesce and is_psycopg3(connection)):
        return False
    session = connection.connection
    options = session.isolation_level, session.read_only, session.deferrable
    outermost = len(connection.atomic_blocks) == 1 and connection.commit_on_exit
    return (
        outermost
        and options == (None, None, None)
        and hasattr(session.cursor_factory, "mogrify")
        and hasattr(session, "_autocommit")
    )
