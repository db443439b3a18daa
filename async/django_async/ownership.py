"""The lock that the owner of a detached job holds while it runs: whoever can take it, and finds the
job begun, knows that its owner is dead. There is no lease, no heartbeat and no clock.

==========  ========================================================================
PostgreSQL  an advisory lock of a session: the queue's number, and 31 bits of the job's id
MariaDB     ``GET_LOCK``, with a name made of the database's and the job's id
SQLite      the byte at the job's id in a file beside the database, locked by the kernel
==========  ========================================================================

On a server it is held on a session of its own, since the job may close or break the one it works
with. A worker keeps that session from job to job; elsewhere it ends with the attempt, for a test's
database to be dropped. The kernel's lock is that of an open file: copies of the process share it,
and so they drop it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from struct import pack
from typing import Any
from zlib import crc32

from django.db import Error as DriverError
from django.db import NotSupportedError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_SPACE = crc32(b"django_async.job") >> 1
"""The first half of the key of an advisory lock on PostgreSQL."""

_NAME = "CONCAT('django_async.', LEFT(SHA1(DATABASE()), 16), '.', %s)"
"""The locks of MariaDB and MySQL are the server's, not the database's. A name has at most 64
characters."""

_FOREVER = 31_536_000
"""Seconds: a year, MariaDB's and MySQL's longest. A session that waits for a job is idle."""

_guard = threading.Lock()
_owned: set[tuple[str, int]] = set()
"""What this process owns, and where: the same session or open file would be given a lock twice."""

_sessions: dict[tuple[int, str], BaseDatabaseWrapper] = {}
"""The sessions that hold locks, by thread and alias."""

_files: dict[str, int] = {}
"""The open files that hold SQLite's locks, by their paths. They stay open: with a file, the locks
of POSIX that some systems have only would be lost, all of them."""

_SUFFIX = "-async-locks"

_kept: list[Any] = []
"""Connections of the process from which this one was forked: their end would end its session."""

_keeps = False
"""Whether sessions outlast their attempt, as in a worker."""


def keep_sessions() -> None:
    """In a worker: keep a session for locks from one job to the next."""
    global _keeps
    _keeps = True


@contextmanager
def session(using: str) -> Iterator[BaseDatabaseWrapper]:
    """Within the block, a session for locks, which no job gets hold of. (SQLite needs none.)

    Raises what the driver raises where there is none to be had.
    """
    if connections[using].vendor == "sqlite":
        yield connections[using]
        return
    key = threading.get_ident(), using
    found = _sessions.get(key) or _sessions.setdefault(key, _make_session(using))
    try:
        _connect(found)
        yield found
    finally:
        if not _keeps:
            _sessions.pop(key, None)
            found.close()


@contextmanager
def of(job_id: int, connection: BaseDatabaseWrapper) -> Iterator[bool]:
    """Within the block, own the job, if nobody else does; whether it is so.

    The connection's session holds the lock. If it ends meanwhile, others take the owner for dead.
    """
    mine = _place(connection), job_id
    with _guard:
        is_free = mine not in _owned
        _owned.add(mine)
    if not is_free:
        yield False
        return
    has_it = False
    try:
        has_it = _take(connection, *mine)
        yield has_it
    finally:
        if has_it:
            _drop(connection, *mine)
        _owned.discard(mine)


def _make_session(using: str) -> BaseDatabaseWrapper:
    made = connections[using].copy()
    made.settings_dict["OPTIONS"].pop("pool", None)  # whose last connection the job may have
    return made


def _connect(connection: BaseDatabaseWrapper) -> None:
    """Have a session that lives, and that the server does not end for being idle."""
    if connection.connection is not None and connection.is_usable():
        return
    connection.close()
    connection.ensure_connection()
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET SESSION wait_timeout = %s", [_FOREVER])
        elif getattr(connection, "pg_version", 0) >= 140_000:
            cursor.execute("SET idle_session_timeout = 0")


def _place(connection: BaseDatabaseWrapper) -> str:
    """Where the lock is: in a session; on SQLite in a file, which a database in memory has not."""
    if connection.vendor != "sqlite":
        return str(id(connection))
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA database_list")
        file = cursor.fetchall()[0][2]
    return f"{os.path.realpath(file)}{_SUFFIX}" if file else ""


def _take(connection: BaseDatabaseWrapper, place: str, job_id: int) -> bool:
    if connection.vendor == "sqlite":
        return not place or _lock_byte(place, job_id)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_SPACE, job_id % 2**31])
        else:
            cursor.execute(f"SELECT GET_LOCK({_NAME}, 0)", [job_id])
        return bool(cursor.fetchone()[0])


def _drop(connection: BaseDatabaseWrapper, place: str, job_id: int) -> None:
    """Give the lock back; a session that cannot do so is ended, and the lock with it."""
    if connection.vendor == "sqlite":
        if place:
            _control(_files[place], fcntl.F_UNLCK, job_id)
        return
    try:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_SPACE, job_id % 2**31])
            else:
                cursor.execute(f"SELECT RELEASE_LOCK({_NAME})", [job_id])
            is_dropped = bool(cursor.fetchone()[0])
    except DriverError:
        is_dropped = False
    if not is_dropped:
        connection.close()


def _lock_byte(file: str, job_id: int) -> bool:
    if fcntl is None:
        raise NotSupportedError("On SQLite, jobs without a transaction need the locks of POSIX.")
    if file not in _files or not _is_open(file):
        mode = os.stat(file.removesuffix(_SUFFIX)).st_mode & 0o666
        _files[file] = os.open(file, os.O_RDWR | os.O_CREAT, mode)
    try:
        _control(_files[file], fcntl.F_WRLCK, job_id)
    except (BlockingIOError, PermissionError):  # as systems differ
        return False
    return True


def _is_open(file: str) -> bool:
    """Whether the open file is the one that others would open now."""
    return os.path.exists(file) and os.path.samestat(os.fstat(_files[file]), os.stat(file))


def _control(file: int, kind: int, byte: int) -> None:
    """Take the lock on a byte, or give it back; at once, or not at all."""
    if sys.platform == "linux":
        # No flock() from the standard library: lockf()'s locks are the process's, and are lost
        # with any other descriptor of the file.
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, pack("hhqqi", kind, os.SEEK_SET, byte, 1, 0))
    elif kind == fcntl.F_UNLCK:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)


def _forget() -> None:
    """In a copy of this process: it owns nothing, and must not say goodbye to the server."""
    for connection in _sessions.values():
        _kept.append(connection.connection)
        connection.connection = None
    for file in _files.values():
        os.close(file)
    for ours in (_sessions, _files, _owned):
        ours.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
