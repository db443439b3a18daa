"""Whether a parent still lives, without a lease and without a clock.

PostgreSQL, MariaDB and MySQL: the parent holds a lock of its session, which the server drops with
the session. A parent that connects anew, after an outage or where it has to close its connection
before each fork, may seem dead for some milliseconds: it is looked at twice.

SQLite: all processes are on one host, so the process table tells, and the moment of birth tells a
process from a later one with its id.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from django.db.backends.base.base import BaseDatabaseWrapper

_SPACE = crc32(b"django_async.parent") >> 1
"""The first half of the key of an advisory lock on PostgreSQL."""


def take_lock(token: str, connection: BaseDatabaseWrapper) -> None:
    """Show that the parent lives, for as long as this connection does."""
    if connection.vendor == "postgresql":
        _execute(connection, "SELECT pg_try_advisory_lock(%s, %s)", [_SPACE, _key(token)])
    elif connection.vendor == "mysql":
        _execute(connection, "SELECT GET_LOCK(%s, 0)", [_name(token)])


def drop_lock(token: str, connection: BaseDatabaseWrapper) -> None:
    """Show it no longer."""
    if connection.vendor == "postgresql":
        _execute(connection, "SELECT pg_advisory_unlock(%s, %s)", [_SPACE, _key(token)])
    elif connection.vendor == "mysql":
        _execute(connection, "SELECT RELEASE_LOCK(%s)", [_name(token)])


def living(processes: Mapping[str, str], connection: BaseDatabaseWrapper) -> set[str]:
    """Which of the parents live, of which the tokens and processes are given: in one statement."""
    if connection.vendor == "sqlite":
        return {token for token, process in processes.items() if _runs(process)}
    if not processes:
        return set()
    if connection.vendor == "postgresql":
        sql = (
            "SELECT ARRAY_AGG(objid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s"
            " AND database = (SELECT oid FROM pg_database WHERE datname = CURRENT_DATABASE())"
        )
        keys = _execute(connection, sql, [_SPACE])[0] or ()
        return {token for token in processes if _key(token) in keys}
    marks = ", ".join(["IS_USED_LOCK(%s)"] * len(processes))
    holders = _execute(connection, f"SELECT {marks}", [_name(token) for token in processes])
    return {token for token, holder in zip(processes, holders, strict=True) if holder}


def is_exact(connection: BaseDatabaseWrapper) -> bool:
    """Whether a parent never seems dead that lives."""
    return connection.vendor == "sqlite"


def describe_process(pid: int) -> str:
    """The process with this id and, where the system tells, the tick of its birth."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return f"{pid} ended"
    except PermissionError:  # it lives, and is somebody else's
        pass
    stat = Path(f"/proc/{pid}/stat")
    fields = stat.read_text().rpartition(")")[2].split() if stat.exists() else []
    if fields[:1] == ["Z"]:
        return f"{pid} ended"
    return f"{pid} {fields[19]}" if fields else f"{pid}"


def host() -> str:
    """The name of this host, for people."""
    return socket.gethostname()[:255]


def worker(pid: int | None = None) -> str:
    """A process of this host (or this one), for people: who made an attempt."""
    return f"{host()[:50]}:{pid or os.getpid()}"


def _runs(process: str) -> bool:
    return process == describe_process(int(process.split()[0]))


def _key(token: str) -> int:
    """The second half of the key: 31 bits of the token."""
    return int(token[:8], 16) >> 1


def _name(token: str) -> str:
    return f"django_async.{token}"


def _execute(connection: BaseDatabaseWrapper, sql: str, params: list[Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()
