"""Database connections across a fork: the parent's end before it, and none is inherited.

A child that closes a connection which it inherited ends the parent's session: libpq and mysqlclient
say goodbye to the server, mysqlclient even from the garbage collector. A pool of connections that
survives a fork hands other processes' rows to its readers.
"""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

from django_async import sessions, sidecar

_kept: list[Any] = []
"""Connections that must never be collected here: their end would be told to the server."""


def close_connections() -> None:
    """In the parent, before each fork: close every connection, pools included."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()
    sidecar.close_all()


def begin_worker() -> None:
    """In the child, before anything else."""
    forget_connections()
    connection_created.connect(sessions.announce, dispatch_uid="django_async.forking")


def forget_connections() -> None:
    """Drop what this process inherited all the same, without a word to the server."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _kept.append(connection.connection)
            connection.connection = None
            sessions.forget_transaction(connection)
        pools = getattr(connection, "_connection_pools", {})  # PostgreSQL's, from Django 5.1 on
        if pool := pools.pop(connection.alias, None):
            _kept.append(pool)
