"""What an error means that came while the database was used: who is to blame, and what is lost."""

from __future__ import annotations

from typing import Any

from django.db import Error as DriverError
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async.errors import chain

CONFLICTS = ("40001", "40P01", 1020, 1205, 1213)
"""Serialisation failures and deadlocks, as PostgreSQL and as MariaDB and MySQL number them."""

MISSING = ("42P01", "42703", 1054, 1146)
"""Tables and columns that are not there, numbered likewise."""

READ_ONLY = ("25006", 1290, 1792, 1836)
"""A server, a database or a session that is not to be written to, as a standby is; likewise."""

IDLE = 0
"""libpq's PQTRANS_IDLE: no transaction."""

ACTIVE = 1
"""libpq's PQTRANS_ACTIVE, as psycopg's TransactionStatus has it: a statement is in progress."""

IN_TRANSACTION = 2
"""libpq's PQTRANS_INTRANS: within a transaction that can go on."""

IN_ERROR = 3
"""libpq's PQTRANS_INERROR: a statement has failed."""


def is_alive(connection: BaseDatabaseWrapper) -> bool:
    """Whether the session with the server still exists, in whatever state its transaction is."""
    if connection.connection is None or connection.closed_in_transaction:
        return False
    if connection.vendor == "postgresql":  # where is_usable() fails in an aborted transaction
        return not (connection.connection.closed or is_cut_off(connection))
    return bool(connection.is_usable())


def is_cut_off(connection: BaseDatabaseWrapper) -> bool:
    """Whether a statement or a pipeline on PostgreSQL is never read to its end. A job has left it
    open, or an exception of a signal's handler has."""
    if connection.vendor != "postgresql" or connection.connection is None:
        return False
    if connection.connection.info.transaction_status == ACTIVE:
        return True
    return is_psycopg3(connection) and bool(connection.connection.pgconn.pipeline_status)


def is_aborted(connection: BaseDatabaseWrapper) -> bool:
    """Whether the transaction can only be rolled back, as far as Django or PostgreSQL tell."""
    if connection.needs_rollback or connection.vendor != "postgresql":
        return bool(connection.needs_rollback)
    return bool(connection.connection.info.transaction_status == IN_ERROR)


def is_within_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the session is in a transaction that can go on. (Those of MariaDB and MySQL tell no
    more than that they begin one with their next statement, if they are in none.)"""
    session = _session_of(connection)
    if session is None:
        return False
    if connection.vendor == "mysql":
        return not session.get_autocommit()
    return bool(session.pgconn.transaction_status == IN_TRANSACTION)


def is_idle(connection: BaseDatabaseWrapper) -> bool:
    """Whether the session is in no transaction, and begins none with its next statement."""
    session = _session_of(connection)
    if session is None:
        return False
    if connection.vendor == "mysql":
        return bool(session.get_autocommit())
    return bool(session.pgconn.transaction_status == IDLE)


def is_between(connection: BaseDatabaseWrapper) -> bool:
    """Whether the session is in no transaction, and none is about to begin."""
    return is_idle(connection) and not connection.in_atomic_block and connection.autocommit


def _session_of(connection: BaseDatabaseWrapper) -> Any:
    return None if connection.closed_in_transaction else connection.connection


def is_psycopg3(connection: BaseDatabaseWrapper) -> bool:
    """Whether the driver is psycopg 3; psycopg2 does without what needs it."""
    module = getattr(connection, "Database", None)
    return connection.vendor == "postgresql" and getattr(module, "__name__", "") == "psycopg"


def has_lost(session: Any, connection: BaseDatabaseWrapper) -> bool:
    """Whether the session has ended since; Django may have opened a new one on its way out of a
    transaction."""
    return session is not None and connection.connection is not session


def is_outage(error: BaseException, connection: BaseDatabaseWrapper, session: Any) -> bool:
    """Whether there was no database to talk to, or no longer: not a fault of the statement."""
    if not isinstance(error, DriverError):
        return False
    return has_lost(session, connection) or not is_alive(connection)


def has_failed(stop: BaseException, connection: BaseDatabaseWrapper) -> bool:
    """Whether the session was lost by an error before this exception of a signal's handler."""
    driver: Any = connection  # it may not have come to Django yet, which wraps the driver's errors
    errors = DriverError, driver.Database.Error
    return any(isinstance(link, errors) for link in chain(stop)) and not is_alive(connection)


def has_no_tables(error: BaseException) -> bool:
    """Whether a table, or a column, of the queue is not there: the database is being made, or its
    migrations are still to come."""
    text = str(error) if isinstance(error, OperationalError) else ""
    return error_number(error) in MISSING or text.startswith(("no such table", "no such column"))


def is_read_only(error: BaseException) -> bool:
    """Whether the database takes no writes now, as a standby does after a failover."""
    text = str(error) if isinstance(error, OperationalError) else ""
    return error_number(error) in READ_ONLY or "readonly database" in text


def is_conflict(error: BaseException, using: str) -> bool:
    """Whether a claim only met somebody else's write, and may be tried again: SQLite's one writer
    was at work for longer than the timeout; or, where the isolation level is higher than READ
    COMMITTED, the row was changed since the transaction's snapshot."""
    return any(_is_conflict(link, connections[using].vendor) for link in chain(error))


def error_number(error: BaseException) -> Any:
    """How the server numbers what Django, or the driver, has raised."""
    cause = error.__cause__ or error
    return getattr(cause, "sqlstate", None) or (cause.args and cause.args[0])


def _is_conflict(error: BaseException, vendor: str) -> bool:
    if not isinstance(error, OperationalError):
        return False
    if vendor == "sqlite":
        return "locked" in str(error)
    return error_number(error) in CONFLICTS


def knock(connection: BaseDatabaseWrapper) -> None:
    """Find out whether the database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def try_to_write(connection: BaseDatabaseWrapper) -> None:
    """Find out whether jobs may be written; of a row that there never is."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE async_job SET priority = priority WHERE id = 0")
