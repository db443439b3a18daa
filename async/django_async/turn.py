"""SQLite's one writer: whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from django_async import trouble


def take_turn(using: str) -> None:
    """Make the transaction that has just begun SQLite's writer, before it reads anything.

    One that reads first and writes later fails at once if another has written in between, whatever
    the timeout; one that writes first waits. The other databases need none of this.
    """
    connection = connections[using]
    if connection.vendor == "sqlite":
        trouble.try_to_write(connection)


@contextmanager
def impatient(using: str, seconds: float) -> Iterator[None]:
    """Within the block, a statement fails if SQLite's writer is somebody else for longer than that.
    (On the other databases it changes nothing.)"""
    connection = connections[using]
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        [[usual]] = cursor.execute("PRAGMA busy_timeout")
        cursor.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {usual}")
