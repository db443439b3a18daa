"""A worker's sessions on the database servers, as seen from both ends of its life.

A server notices late that a client has died: at the end of the statement at hand, or, if a process
that the job has left behind holds the socket, not at all. Until then the job's row is locked. So a
worker tells its parent by which numbers the servers know its sessions, and when it dies the parent
ends them. A server that was restarted may have given the number to somebody else: so each session
has a mark as well, that no other one ever has.

If nobody is left to do so, since the whole host is gone or cut off, the server has to notice by
itself, and so has the host. What both are told for that is here, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections
from django.db import Error as DriverError
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async.trouble import is_cut_off
from forkpool import TaskTimeout, soft_time_limit, tell_parent

logger = logging.getLogger(__name__)

_UNKNOWN_THREAD = 1094

_PATIENCE = 2.0
"""Seconds to end a session of a dead worker, which may have used databases that are silent now."""

_BEGAN = "EXTRACT(EPOCH FROM backend_start)::text"
"""Of a session on PostgreSQL, in a form that no setting of a session changes."""

_OWN_MARK = f"(SELECT {_BEGAN} FROM pg_stat_get_activity(pg_backend_pid()) WHERE pid = %s)"
"""The function that pg_stat_activity is made of: for the view, a session that has just begun would
have to read first what the catalogue says of everything that the view joins."""

_SERVERS_WATCH = {
    "client_connection_check_interval": "100ms",
    "tcp_keepalives_idle": "4s",
    "tcp_keepalives_interval": "2s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
"""By what PostgreSQL notices that its client is gone, though its host has not said so: a row is
free again after about 10 s. A client from which nothing comes is asked after 4 s, and then every
2 s; the third question without an answer is the last one (4 + 3 · 2). An answer of the server's
that nobody confirms may take as long; Linux has repeated it several times by then, so that a few
lost packets are no end. Within a statement the server looks ten times a second whether all this has
ended the connection."""

_CLIENTS_WATCH = {
    "connect_timeout": 10,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""The same from the other end, in libpq's words. Linux would wait for 15 minutes for a confirmation
and for ever for an answer, and a new connection may take 2 minutes to come about."""

_JOBS_USER_TIMEOUT = 30_000
"""Milliseconds. A job may send more than the server takes at the moment (a COPY that waits for a
lock), which looks to Linux as if nobody were there."""

_OLD = 140_000
"""PostgreSQL before this version does not look for its client within a statement."""

_sessions: WeakKeyDictionary[BaseDatabaseWrapper, tuple[int, str]] = WeakKeyDictionary()
"""This process's sessions, by the server's numbers and their marks; of one alias there may be
several."""

_bounded: list[tuple[dict[str, Any], dict[str, int]]] = []
"""The connections' options to which bounded_waits() has added, and what."""


def announce(connection: BaseDatabaseWrapper, **_: object) -> None:
    """In a worker, for each new connection: tell the parent, and have the server look out."""
    number = _number(connection)
    if number and (mark := _mark(number, connection)):
        _sessions[connection] = number, mark
        tell_parent([(one.alias, *session) for one, session in list(_sessions.items())])


def end_all(note: object, silent: set[str] | None = None) -> None:
    """In the parent: end the sessions that a dead worker has told of, but for those on databases
    that are silent; of these it takes note."""
    silent = set() if silent is None else silent
    for alias, number, mark in note if isinstance(note, list) else ():
        if alias in silent:
            continue
        try:
            with soft_time_limit(_PATIENCE):
                _end(number, mark, connections[alias])
        except (DriverError, TaskTimeout) as error:  # the server will notice by itself, if later
            if isinstance(error, TaskTimeout):
                silent.add(alias)
                connections[alias].close()
            if not (error.args and error.args[0] == _UNKNOWN_THREAD):
                logger.warning("Session %s on %r could not be ended.", number, alias, exc_info=True)


def watch_client(
    connection: BaseDatabaseWrapper, question: str = "NULL", params: Sequence[Any] = ()
) -> Any:
    """Have PostgreSQL notice soon that this client is gone, for the case that nobody else ends the
    session: the parent has died as well, or the host is cut off. (MariaDB and MySQL have no such
    settings of a session. On a socket file the ones for TCP do nothing.) The answer to a question
    that travels with it."""
    if connection.vendor != "postgresql":
        return None
    watch = dict(_SERVERS_WATCH)
    if getattr(connection, "pg_version", 0) < _OLD:
        del watch["client_connection_check_interval"]
    if connection.in_atomic_block:  # of a TestCase
        watch = {}
    try:
        return _configure(connection, watch, question, params)
    except DatabaseError:  # a server on a system that cannot tell within a statement
        if not watch:
            raise
        connection.rollback()
        watch["client_connection_check_interval"] = "0"
        return _configure(connection, watch, question, params)


@contextmanager
def bounded_waits(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    """Within the block, connect so that a server which says nothing any more is given up. What the
    settings say stays as it is.

    MariaDB and MySQL, in the parent: after so many seconds. mysqlclient waits for an answer in C,
    where no signal and no timer of Python's reaches it. PostgreSQL: when its host does not even
    confirm that it has received what was sent to it.
    """
    longest = max(1, int(seconds))
    waits = {
        "mysql": {"connect_timeout": longest, "read_timeout": longest},
        "postgresql": _CLIENTS_WATCH,
    }
    options = connection.settings_dict["OPTIONS"]
    wanted = waits.get(connection.vendor, {})
    added = {name: value for name, value in wanted.items() if name not in options}
    options.update(added)
    _bounded.append((options, added))
    try:
        yield
    finally:
        _bounded[:] = [one for one in _bounded if one[0] is not options]  # others may be equal
        for name in added:
            options.pop(name, None)


def loosen_waits() -> None:
    """Where jobs run: they may have statements that take longer."""
    for options, added in _bounded:
        if "read_timeout" in added:
            options.pop("read_timeout", None)
        if "tcp_user_timeout" in added:
            options["tcp_user_timeout"] = _JOBS_USER_TIMEOUT


def forget_transaction(connection: BaseDatabaseWrapper) -> None:
    """Have Django take the connection for one outside of any transaction."""
    connection.in_atomic_block = False
    connection.closed_in_transaction = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []


def end(connection: BaseDatabaseWrapper) -> None:
    """End the session. Django's close() would give it back to its pool, if there is one, and so to
    the next job."""
    session: Any = connection.connection
    if session is not None and getattr(connection, "pool", None):
        with suppress(Exception):  # it has ended already
            session.close()
    connection.close()


def end_if_cut_off(connection: BaseDatabaseWrapper) -> bool:
    """End the session if a statement of it was left open, for whose end psycopg would let any other
    wait for ever, be it a ROLLBACK; whether it was so."""
    is_cut = is_cut_off(connection)
    if is_cut:
        end(connection)
    return is_cut


def _number(connection: BaseDatabaseWrapper) -> int | None:
    if connection.vendor == "postgresql":
        return int(connection.connection.info.backend_pid)
    if connection.vendor == "mysql":
        return int(connection.connection.thread_id())
    return None


def _mark(number: int, connection: BaseDatabaseWrapper) -> str | None:
    """What tells the session from one that has the same number after a restart of the server: on
    PostgreSQL the moment at which it began, elsewhere a lock that it holds. None if the session is
    not ours alone: behind a connection pooler the number is the pooler's."""
    if connection.vendor == "postgresql":
        began = watch_client(connection, _OWN_MARK, [number])
        return began and str(began)
    name = f"django_async.session.{uuid4().hex}"
    [is_held] = _ask(connection, "SELECT GET_LOCK(%s, 0)", [name])
    return name if is_held else None


def _end(number: int, mark: str, connection: BaseDatabaseWrapper) -> None:
    if connection.vendor == "postgresql":
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(%s) WHERE {} = %s"
        _ask(connection, sql.format(_BEGAN), [number, mark])
        return
    [holder] = _ask(connection, "SELECT IS_USED_LOCK(%s)", [mark])
    if holder is not None:
        with connection.cursor() as cursor:
            cursor.execute("KILL CONNECTION %s", [holder])


def _configure(
    connection: BaseDatabaseWrapper, values: dict[str, str], question: str, params: Sequence[Any]
) -> Any:
    """Set what the session may set for itself, and ask a question, in one statement."""
    calls = ", ".join(["set_config(%s, %s, false)"] * len(values) + [question])
    given = [part for pair in values.items() for part in pair]
    return _ask(connection, f"SELECT {calls}", [*given, *params])[-1]


def _ask(connection: BaseDatabaseWrapper, sql: str, params: list[Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()
