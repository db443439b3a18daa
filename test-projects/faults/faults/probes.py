"""What the database shows to a session from outside."""

from __future__ import annotations

from typing import Any

from django.db import connection

OPEN_TRANSACTIONS = {
    "postgresql": "SELECT pid, state, LEFT(query, 80) FROM pg_stat_activity"
    " WHERE datname = CURRENT_DATABASE() AND pid <> PG_BACKEND_PID() AND xact_start IS NOT NULL"
    " AND backend_type = 'client backend'",
    "mysql": "SELECT id, command, LEFT(info, 80) FROM information_schema.innodb_trx"
    " JOIN information_schema.processlist ON id = trx_mysql_thread_id"
    " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
LOCKED = "SELECT attempts FROM async_job WHERE id = %s FOR UPDATE SKIP LOCKED"
READ = "SELECT attempts FROM async_job WHERE id = %s"


def open_transactions() -> list[str]:
    """The other sessions that are in a transaction, idle or not; SQLite's writer."""
    if connection.vendor == "sqlite":
        return [] if can_write() else ["somebody writes"]
    return [
        f"session {row[0]} ({row[1]}): {row[2]}"
        for row in ask(OPEN_TRANSACTIONS[connection.vendor])
    ]


def is_free(job: int, attempts: int) -> bool:
    """Whether the row of a job that had made so many attempts can be locked, or was since."""
    if connection.vendor == "sqlite":
        return can_write()
    return bool(ask(LOCKED, job)) or ask(READ, job) != [(attempts,)]


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


def ask(question: str, *params: Any) -> list[Any]:
    """All rows of the answer."""
    with connection.cursor() as cursor:
        cursor.execute(question, params)
        return list(cursor.fetchall())
