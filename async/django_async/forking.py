"""Database connections across a fork: no child uses or ends what it inherits.

A child that closes a connection which it inherited ends the parent's session: libpq and mysqlclient
say goodbye to the server, mysqlclient even from the garbage collector. So a child puts another file
in the place of the socket, and never closes the connection. What it cannot let go of in that way
the parent closes before it forks: a pool of connections, whose threads a fork does not copy, and
which hands other processes' rows to its readers; a file of SQLite, whose locks are the process's.

The parent keeps the sessions that it needs: to connect anew, and to become known again, would take
it longer than to fork. While it forks it hides them from Django, since a project may have each
child close all connections by a hook of its own (os.register_at_fork), before it comes to ours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from django_async import sessions, sidecar

logger = logging.getLogger(__name__)

_kept: list[Any] = []
"""Connections that must never be collected here: their end would be told to the server."""

_aside: list[tuple[BaseDatabaseWrapper, Any]] = []
"""The sessions with which a parent goes on after the fork."""

_reached: list[BaseDatabaseWrapper] = []
"""In a child, the databases of these sessions: they were there a moment ago."""


def close_connections() -> None:
    """In the parent, before a fork: close every connection, pools included."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()
    sidecar.close_all()


def set_aside(needed: Collection[str]) -> None:
    """In the parent, before a fork: of the databases that it needs, hide the sessions of which a
    child can let go; close every other connection."""
    for connection in connections.all(initialized_only=True):
        if connection.alias in needed and _can_stay(connection):
            _aside.append((connection, connection.connection))
            connection.connection = None
    close_connections()


def take_up() -> None:
    """In the parent, after the fork: go on with what was set aside."""
    while _aside:
        connection, session = _aside.pop()
        connection.close()  # what a hook of the project's has opened meanwhile
        connection.connection = session


def begin_worker() -> None:
    """In the child, before anything else."""
    forget_connections()
    connection_created.connect(sessions.announce, dispatch_uid="django_async.forking")


def forget_connections() -> None:
    """Drop what this process inherited, without a word to the server."""
    while _aside:
        connection, session = _aside.pop()
        _cut_off(session)
        _reached.append(connection)
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _cut_off(connection.connection)
            connection.connection = None
            sessions.forget_transaction(connection)
        pools = getattr(connection, "_connection_pools", {})  # PostgreSQL's, from Django 5.1 on
        if pool := pools.pop(connection.alias, None):
            _kept.append(pool)


def connect() -> None:
    """In the child, when it is set up: have sessions, before a job has to wait for them."""
    while _reached:
        connection = _reached.pop()
        try:
            connection.ensure_connection()
        except Exception:
            logger.debug("No session on %r so far.", connection.alias, exc_info=True)
            connection.close()  # the first job tries again, and says what is wrong
            _reached.clear()  # a host that says nothing is waited for once, however many it has


def _can_stay(connection: BaseDatabaseWrapper) -> bool:
    is_pooled = bool(connection.settings_dict["OPTIONS"].get("pool"))
    is_free = not (is_pooled or connection.in_atomic_block)  # which it is in a TestCase only
    return is_free and _socket(connection.connection) is not None


def _cut_off(session: Any) -> None:
    """Have whatever is sent in the session go nowhere, and keep it for ever."""
    if (descriptor := _socket(session)) is not None:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)
    _kept.append(session)


def _socket(session: Any) -> int | None:
    """Its descriptor, if the driver tells: those of PostgreSQL do, and mysqlclient."""
    try:
        return int(session.fileno())
    except AttributeError:  # the driver does not tell, or there is no session
        return None
    except Exception:  # noqa: BLE001 - each driver has its own error for what is closed
        return None
