"""The locks of jobs that run without a transaction, as an operator sees them."""

from __future__ import annotations

from typing import Any

from django.db import connection

from django_async import ownership
from suite.together import wait_until


def end_lock_session(job_id: int) -> None:
    """End the session that holds the job's lock; return when the lock is free."""
    session = holder(job_id)
    assert session is not None
    end_session(session)
    wait_until(lambda: holder(job_id) is None, "the end of the session")


def end_session(number: int) -> None:
    end = "SELECT pg_terminate_backend(%s)" if connection.vendor == "postgresql" else "KILL %s"
    with connection.cursor() as cursor:
        cursor.execute(end, [number])


def holder(job_id: int) -> int | None:
    """The server's number of the session that holds the job's lock."""
    if connection.vendor == "postgresql":
        where = "locktype = 'advisory' AND classid = %s AND objid = %s AND granted"
        return _ask(f"SELECT pid FROM pg_locks WHERE {where}", ownership._SPACE, job_id)
    return _ask(f"SELECT IS_USED_LOCK({ownership._NAME})", job_id)


def _ask(sql: str, *params: Any) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])
