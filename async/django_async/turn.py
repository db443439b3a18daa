"""SQLite's one writer: whose turn it is."""

from __future__ import annotations

from django.db import connections


def take_turn(using: str) -> None:
    """Make the transaction that has just begun SQLite's writer, before it reads anything.

    One that reads first and writes later fails at once if another has written in between, whatever
    the timeout; one that writes first waits. The other databases need none of this.
    """
    connection = connections[using]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("UPDATE async_job SET priority = priority WHERE id = 0")
