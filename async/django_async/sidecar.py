"""The notices of an SQLite database, in a second file beside it: ``<NAME>-async``.

A job's transaction holds the one write lock of its database for as long as the job runs, so nothing
about a running job can be written there. The file is made at need, with the permissions of the
database. It holds nothing that lasts: a file that is missing, or has the tables of another version,
is made anew. Its two tables have the columns of the models, for ``ATTACH``.

An in-memory database has no file; its notices are kept in this process, which nobody else can see
either.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar
from weakref import WeakSet

from django.conf import settings
from django.db import connections, models, transaction
from django.utils import timezone

from django_async.errors import NoticesUnavailable
from django_async.notices import Cancellation, Running

SUFFIX = "-async"

VERSION = 1
"""Of the tables, kept in the file's user_version."""

PATIENCE = 0.5
"""Seconds to wait for another writer, each of whom needs less than a millisecond."""

RUNNING = ("parent_id", "job_id", "attempt", "pid", "since", "done", "total", "message")
CANCELLATION = ("id", "job_id", "added", "asked")
MOMENTS = ("since", "added", "asked")

SHOW = f"INSERT INTO async_running ({', '.join(RUNNING)}) VALUES ({', '.join('?' * len(RUNNING))})"
UNSHOW = "DELETE FROM async_running WHERE parent_id = ? AND job_id = ?"
ASK = "INSERT INTO async_cancellation (job_id, added, asked) VALUES (?, ?, ?)"
DROP = "DELETE FROM async_cancellation WHERE id = ? AND asked = ?"

TABLES = (
    "DROP TABLE IF EXISTS async_running",
    "DROP TABLE IF EXISTS async_cancellation",
    """CREATE TABLE async_running (id INTEGER PRIMARY KEY AUTOINCREMENT,
        parent_id TEXT NOT NULL, job_id INTEGER NOT NULL, attempt INTEGER NOT NULL,
        pid INTEGER NOT NULL, since TEXT NOT NULL, done REAL, total REAL, message TEXT NOT NULL)""",
    """CREATE TABLE async_cancellation (id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id INTEGER NOT NULL, added TEXT NOT NULL, asked TEXT NOT NULL)""",
    f"PRAGMA user_version = {VERSION}",
)

M = TypeVar("M", bound=models.Model)

Statement = tuple[str, Sequence[Sequence[Any]]]
"""With the parameters of each of its executions."""

_open: WeakSet[Sidecar] = WeakSet()
_in_memory: dict[str, sqlite3.Connection] = {}
_one_at_a_time = RLock()
"""Threads share the connection to what is in memory."""


def close_all() -> None:
    """In a parent, before each fork: what a child inherits of SQLite it must not use."""
    for sidecar in list(_open):
        sidecar.close()


class Sidecar:
    """The file beside the database, as long as it is used by one thread."""

    def __init__(self, using: str) -> None:
        self.database = connections[using]
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        _open.add(self)

    @property
    def session(self) -> object:
        """What changes when the file had to be opened anew: another one may have its place."""
        with self._failures():
            return self._connect(make=False)

    def runs(self) -> list[Running]:
        found = self._read(f"SELECT {', '.join(RUNNING)} FROM async_running")
        return [self._as_model(Running, RUNNING, row) for row in found]

    def replace(self, parent: str, gone: Collection[int], new: Sequence[Running]) -> None:
        old = [(parent, job) for job in gone]
        rows = [[self._plain(getattr(run, column)) for column in RUNNING] for run in new]
        self._write((UNSHOW, old), (SHOW, rows), make=bool(rows))

    def erase(self, parents: Collection[str]) -> None:
        self._write(("DELETE FROM async_running WHERE parent_id = ?", [(one,) for one in parents]))

    def ask(self, requests: Sequence[Cancellation]) -> None:
        rows = [(one.job_id, self._plain(one.added), self._plain(one.asked)) for one in requests]
        self._write_on_commit((ASK, rows), make=True)

    def requests(self) -> list[Cancellation]:
        found = self._read(f"SELECT {', '.join(CANCELLATION)} FROM async_cancellation ORDER BY id")
        return [self._as_model(Cancellation, CANCELLATION, row) for row in found]

    def drop(self, requests: Sequence[Cancellation]) -> None:
        # With the moment: if the file was made anew since, its ids have begun anew as well.
        rows = [(one.pk, self._plain(one.asked)) for one in requests]
        self._write_on_commit((DROP, rows))

    def close(self) -> None:
        if self._connection is not None and self._file is not None:  # in memory, it is all there is
            self._connection.close()
        self._connection = self._file = None

    def _read(self, sql: str) -> list[tuple[Any, ...]]:
        with self._failures():
            connection = self._connect(make=False)
            return connection.execute(sql).fetchall() if connection else []

    def _write(self, *statements: Statement, make: bool = False) -> None:
        if not any(rows for _, rows in statements):
            return
        with self._failures():
            if connection := self._connect(make=make):
                with _transaction(connection):
                    for sql, rows in statements:
                        connection.executemany(sql, rows)

    def _write_on_commit(self, statement: Statement, *, make: bool = False) -> None:
        """As if it were in the caller's transaction: not at all if that is rolled back."""

        def write() -> None:
            self._write(statement, make=make)
            self.close()

        transaction.on_commit(write, using=self.database.alias)

    def _connect(self, *, make: bool) -> sqlite3.Connection | None:
        """The connection to the file that is there now, if there is one or it is to be made."""
        path = self._path()
        if path is None:
            self._connection = _of_this_process(str(self.database.settings_dict["NAME"]))
            return self._connection
        if self._connection is None or _identity(path) != self._file:
            self.close()
            if not path.exists():
                if not make:
                    return None
                _make(path)
            self._connection, self._file = _connect(str(path)), _identity(path)
        return self._connection

    def _path(self) -> Path | None:
        """Where the file is; None beside a database without one. SQLite itself knows best what the
        settings mean: a relative path, a symbolic link or an URI."""
        with self.database.cursor() as cursor:
            cursor.execute("PRAGMA database_list")
            name = next(file for _, schema, file in cursor.fetchall() if schema == "main")
        return Path(f"{name}{SUFFIX}") if name else None

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Say which file it is that cannot be used."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise NoticesUnavailable(
                f"What runs can neither be shown nor cancelled: the file {self._path()} beside the"
                f" SQLite database cannot be used by this process: {error}"
            ) from error

    def _plain(self, value: Any) -> Any:
        """As Django stores it."""
        is_moment = isinstance(value, datetime)
        return self.database.ops.adapt_datetimefield_value(value) if is_moment else value

    def _as_model(self, model: type[M], columns: Sequence[str], row: Sequence[Any]) -> M:
        values = dict(zip(columns, row, strict=True))
        for column in values.keys() & MOMENTS:
            values[column] = self._moment(values[column])
        return model(**values)

    def _moment(self, text: str) -> datetime | None:
        """As a model's field holds it."""
        moment = datetime.fromisoformat(text)
        return timezone.make_aware(moment, self.database.timezone) if settings.USE_TZ else moment


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is that has the path now."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    """Make the file for all who use the database: whoever can write to that must be able to write
    here. It gets its name when it is complete; somebody else may have been quicker."""
    like = Path(str(path).removesuffix(SUFFIX)).stat()
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        os.fchmod(handle, stat.S_IMODE(like.st_mode))
        with suppress(PermissionError):
            os.fchown(handle, like.st_uid, like.st_gid)
        _connect(name).close()
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.close(handle)
        os.unlink(name)


def _of_this_process(name: str) -> sqlite3.Connection:
    if name not in _in_memory:
        _in_memory[name] = _connect(":memory:")
    return _in_memory[name]


def _connect(path: str) -> sqlite3.Connection:
    """A connection to the file, whose tables are those of this version."""
    connection = sqlite3.connect(
        path, timeout=PATIENCE, isolation_level=None, check_same_thread=path != ":memory:"
    )
    try:
        if _version(connection) != VERSION:
            connection.execute("PRAGMA journal_mode = WAL")
            with _transaction(connection):
                _lay_out(connection)
    except BaseException:
        connection.close()
        raise
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _lay_out(connection: sqlite3.Connection) -> None:
    if _version(connection) != VERSION:
        for statement in TABLES:
            connection.execute(statement)


def _version(connection: sqlite3.Connection) -> int:
    [[version]] = connection.execute("PRAGMA user_version")
    return int(version)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    with _one_at_a_time:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            yield
