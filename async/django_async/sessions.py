"""A worker's sessions on the database servers, as seen from both ends of its life.

A server notices late that a client has died: at the end of the statement at hand, or, if a process
that the job has left behind holds the socket, not at all. Until then the job's row is locked. So a
worker tells its parent by which numbers the servers know its sessions, and when it dies the parent
ends them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections
from django.db import Error as DriverError
from django.db.backends.base.base import BaseDatabaseWrapper

from forkpool import tell_parent

logger = logging.getLogger(__name__)

_UNKNOWN_THREAD = 1094

_sessions: WeakKeyDictionary[BaseDatabaseWrapper, int] = WeakKeyDictionary()
"""This process's sessions, by the server's numbers; of one alias there may be several."""

_bounded: list[dict[str, Any]] = []
"""The connections' options to which bounded_reads() has added."""


def announce(connection: BaseDatabaseWrapper, **_: object) -> None:
    """In a worker, for each new connection: tell the parent, and have the server look out."""
    if number := _number(connection):
        _sessions[connection] = number
        tell_parent([(open_one.alias, number) for open_one, number in list(_sessions.items())])
    _watch_client(connection)


def end_all(note: object) -> None:
    """In the parent: end the sessions that a dead worker has told of."""
    for alias, number in note if isinstance(note, list) else ():
        try:
            _end(number, connections[alias])
        except DriverError as error:  # the server will notice by itself, if later
            if not (error.args and error.args[0] == _UNKNOWN_THREAD):
                logger.warning("Session %s on %r could not be ended.", number, alias, exc_info=True)


@contextmanager
def bounded_reads(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    """Within the block, connect so that a server which says nothing for so long is given up.

    For MariaDB and MySQL, in the parent: mysqlclient waits for an answer in C, where no signal and
    no timer of Python's reaches it. A ``read_timeout`` in the settings stays as it is.
    """
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "mysql" and "read_timeout" not in options:
        options["read_timeout"] = max(1, int(seconds))
        _bounded.append(options)
    try:
        yield
    finally:
        unbind_reads()


def unbind_reads() -> None:
    """In a worker: jobs may have statements that take longer."""
    while _bounded:
        _bounded.pop().pop("read_timeout", None)


def forget_transaction(connection: BaseDatabaseWrapper) -> None:
    """Have Django take the connection for one outside of any transaction."""
    connection.in_atomic_block = False
    connection.closed_in_transaction = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []


def _number(connection: BaseDatabaseWrapper) -> int | None:
    if connection.vendor == "postgresql":
        return int(connection.connection.info.backend_pid)
    if connection.vendor == "mysql":
        return int(connection.connection.thread_id())
    return None


def _end(number: int, connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Only a session of ours: behind a connection pooler the number is the pooler's.
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s"
                " AND datname = CURRENT_DATABASE() AND usename = CURRENT_USER",
                [number],
            )
        else:
            cursor.execute("KILL CONNECTION %s", [number])


def _watch_client(connection: BaseDatabaseWrapper) -> None:
    """Have PostgreSQL 14 and later look, while a statement runs, whether its client still lives:
    for the case that the parent has died as well, and nobody ends the session."""
    if connection.vendor != "postgresql" or getattr(connection, "pg_version", 0) < 140_000:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET client_connection_check_interval = '100ms'")
    except DatabaseError:  # a server on a system that cannot tell
        connection.close()
