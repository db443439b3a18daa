"""Database connections across a fork: the parent's end before it, and none is inherited.

A child that closes a connection which it inherited ends the parent's session: libpq and mysqlclient
say goodbye to the server, mysqlclient even from the garbage collector. A pool of connections that
survives a fork hands other processes' rows to its readers.
"""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_kept: list[Any] = []
"""Connections that must never be collected here: their end would be told to the server."""


def close_connections() -> None:
    """In the parent, before each fork: close every connection, pools included."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def begin_worker() -> None:
    """In the child, before anything else."""
    _forget_connections()
    connection_created.connect(_watch_client, dispatch_uid="django_async.forking")


def _watch_client(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Have PostgreSQL 14 and later look, while a statement runs, whether its client still lives:
    the row of a job that died in a long statement is free in 0.1 s, and not at its end."""
    if connection.vendor != "postgresql" or getattr(connection, "pg_version", 0) < 140_000:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET client_connection_check_interval = '100ms'")
    except DatabaseError:  # a server on a system that cannot tell
        connection.close()


def _forget_connections() -> None:
    """Drop what this process inherited all the same, without a word to the server."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _kept.append(connection.connection)
            connection.connection = None
            connection.in_atomic_block = False
            connection.savepoint_ids = []
            connection.needs_rollback = False
