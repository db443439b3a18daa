"""What the database shows to a session from outside."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from django.db import OperationalError, connection

OPEN_TRANSACTIONS = {
    "postgresql": "SELECT pid, state, LEFT(query, 80) FROM pg_stat_activity"
    " WHERE datname = CURRENT_DATABASE() AND pid <> PG_BACKEND_PID() AND xact_start IS NOT NULL"
    " AND backend_type = 'client backend'",
    "mysql": "SELECT id, command, LEFT(info, 80) FROM information_schema.innodb_trx"
    " JOIN information_schema.processlist ON id = trx_mysql_thread_id"
    " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
END_SESSIONS = {
    "postgresql": "SELECT PG_TERMINATE_BACKEND(pid) FROM pg_stat_activity"
    " WHERE datname = CURRENT_DATABASE() AND pid <> PG_BACKEND_PID()",
    "mysql": "SELECT id FROM information_schema.processlist"
    " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
LOCKED = "SELECT attempts FROM async_job WHERE id = %s FOR UPDATE SKIP LOCKED"
READ = "SELECT attempts FROM async_job WHERE id = %s"


def open_transactions() -> list[str]:
    """The other sessions that are in a transaction, idle or not; SQLite's writer."""
    if connection.vendor == "sqlite":
        return [] if can_write() else ["somebody writes"]
    if connection.vendor == "mysql":
        time.sleep(0.11)  # what InnoDB shows is renewed only when nobody has asked for so long
    return [
        f"session {row[0]} ({row[1]}): {row[2]}"
        for row in ask(OPEN_TRANSACTIONS[connection.vendor])
    ]


def is_free(job: int, attempts: int) -> bool:
    """Whether the row of a job that had made so many attempts can be locked, or was since."""
    lockable = can_write() if connection.vendor == "sqlite" else bool(ask(LOCKED, job))
    return lockable or ask(READ, job) != [(attempts,)]


def can_write() -> bool:
    """Whether another SQLite writer gets its turn at once."""
    connection.ensure_connection()
    raw = connection.connection
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("ROLLBACK")
    except Exception as error:
        if "locked" not in str(error):
            raise
        return False
    finally:
        raw.execute("PRAGMA busy_timeout = 5000")
    return True


def end_sessions() -> None:
    """End all other sessions with this database, whatever they do."""
    found = ask(END_SESSIONS[connection.vendor]) if connection.vendor != "sqlite" else []
    for (session,) in found if connection.vendor == "mysql" else []:
        with suppress(OperationalError):  # it has gone by itself
            ask(f"KILL {session}")


def ask(question: str, *params: Any) -> list[Any]:
    """All rows of the answer."""
    with connection.cursor() as cursor:
        cursor.execute(question, params)
        return list(cursor.fetchall()) if cursor.description else []
