"""Taking the locks of jobs' rows, by their keys.

- PostgreSQL takes them FOR NO KEY UPDATE: FOR UPDATE would block everybody who inserts a row that
  refers to the job. InnoDB locks every index record that a locking scan touches, so locks are taken
  by key, after a plain read.
- SQLite has one lock, for the one writer. A transaction that reads first and writes later fails at
  once if another wrote in between, whatever the timeout; one that writes first waits its turn. So
  the claim there is an UPDATE, the transaction's first statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q, QuerySet

from django_async import clock, conf, current, policy
from django_async.hints import Hint
from django_async.models import Job

COLUMNS = (
    "name, args, kwargs, meta, queue, priority, attempts, crashes, stamp, started,"
    " COALESCE(scheduled, added)"
)
LOCK = {
    "postgresql": "FOR NO KEY UPDATE SKIP LOCKED",
    "mysql": "FOR UPDATE SKIP LOCKED",
}
TABLE = {"postgresql": "tableoid", "mysql": "DATABASE()", "sqlite": "0"}
"""Which table of that name it is, or where: a job may be somewhere else than its claim was, by
``SET LOCAL search_path`` or ``USE``, where another ``async_job`` has a row of the same id."""
CHUNK = 500
"""Keys in one IN. From 1,000 on MariaDB makes a table of them to join with
(``in_predicate_conversion_threshold``), reads the whole index, and locks all that it reads."""

LONGEST_IDLE = 2_000_000.0
"""Seconds. PostgreSQL counts milliseconds in 31 bits."""

Row = tuple[Any, ...]

Ask = Callable[[str, Sequence[Any]], Row | None]
"""How a statement and its parameters get to the server, and the row that it returns back."""

Extra = tuple[str, list[Any]]
NOTHING_MORE: Extra = ("", [])


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job whose row this transaction has locked."""

    id: int
    name: str
    args: str
    kwargs: str
    meta: str
    queue: str
    priority: int
    attempts: int
    crashes: int
    stamp: str | None
    since: Any
    """When an attempt without a transaction began that has not ended, by what its row says."""
    due: Any
    """Since when the job is due: its time, or when it was added."""
    table: Any
    """See TABLE."""
    started: Any
    """When this attempt began."""

    @property
    def waited(self) -> float | None:
        """Seconds from when it was due to its start; None if that start is another one's."""
        return None if self.since else clock.seconds_between(self.due, self.started)


def lock(
    hint: Hint,
    connection: BaseDatabaseWrapper,
    where: str,
    params: Sequence[Any],
    idle: Extra = NOTHING_MORE,
    ask: Ask | None = None,
) -> Claimed | None:
    """Lock the job if it is as the hint and the condition say; else None."""
    where = f"id = %s AND attempts = %s AND {where}"
    params = [hint.id, hint.attempts, *params]
    stamp, stamp_params = clock.stamp(connection)
    if connection.vendor == "sqlite":
        if not _touch(where, params, connection):
            return None
        where, params = "id = %s", [hint.id]
    table = TABLE[connection.vendor]
    sql = f"SELECT {COLUMNS}, {table}, {stamp}{idle[0]} FROM async_job WHERE {where}"
    sql = f"{sql} {_skip_locked(connection)}"
    row = (ask or partial(ask_cursor, connection))(sql, [*stamp_params, *idle[1], *params])
    return Claimed(hint.id, *row[: len(row) - len(idle[1])]) if row else None


def ask_cursor(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> Row | None:
    """The first row of the answer."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row: Row | None = cursor.fetchone()
        return row


def go_back(claimed: Claimed, connection: BaseDatabaseWrapper) -> None:
    """Have the session look for tables where it did at the claim: a USE of MariaDB's and MySQL's
    outlasts the transaction. (Past Django's cursors: in a workplace their USE ends the session.)"""
    if connection.vendor == "mysql" and connection.connection is not None:
        with connection.wrap_database_errors:
            connection.connection.select_db(claimed.table)


def _touch(where: str, params: Sequence[Any], connection: BaseDatabaseWrapper) -> bool:
    """Become SQLite's writer, by a row as it is; whether it is there."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE async_job SET started = started WHERE {where}", params)
        return bool(cursor.rowcount)


def longest_idle(hint: Hint, connection: BaseDatabaseWrapper) -> Extra:
    """Have PostgreSQL end the session if nothing comes from it until well after the timeout: a
    worker on a host that froze gives the row back, and cannot commit when it thaws. It rides on the
    claim, holds for this transaction, and is left out where that is a TestCase's."""
    seconds = policy.timeout(hint.meta)
    if connection.vendor != "postgresql" or seconds is None or len(connection.atomic_blocks) > 1:
        return NOTHING_MORE
    limit = min(seconds + 2 * conf.current().timeout_grace, LONGEST_IDLE)
    return ", set_config('idle_in_transaction_session_timeout', %s, true)", [f"{limit:.3f}s"]


def _skip_locked(connection: BaseDatabaseWrapper) -> str:
    lock = LOCK.get(connection.vendor, "")
    if connection.features.has_select_for_update_skip_locked:
        return lock
    return lock.removesuffix(" SKIP LOCKED")


def lock_all(
    ids: Iterable[int], using: str, *, wait: bool, where: Q | None = None
) -> Iterator[list[int]]:
    """Those of the ids whose rows could be locked, and of these those that, now that they are
    locked, meet the condition. In portions, and in ascending order, so that two callers who wait
    for each other's rows meet in the same order. (SQLite: the caller has the turn, or takes it.)"""
    ids = sorted(ids)
    for start in range(0, len(ids), CHUNK):
        yield _lock_some(ids[start : start + CHUNK], using, wait=wait, where=where)


def lock_free(ids: Iterable[int], using: str, *, where: Q) -> Iterator[list[int]]:
    """The same, without waiting: those that nobody runs. A caller that is a job itself is not among
    them, though it could have its row: what it did to that, the end of its attempt would undo."""
    return lock_all(set(ids) - {current.own_id(using)}, using, wait=False, where=where)


def _lock_some(ids: list[int], using: str, *, wait: bool, where: Q | None) -> list[int]:
    connection = connections[using]
    rows = Job.objects.using(using).filter(pk__in=ids).order_by("pk")
    if where is not None:
        rows = rows.filter(where)
    if connection.vendor == "sqlite":
        return ids if where is None else list(rows.values_list("pk", flat=True))
    return list(_locking(rows, wait=wait).values_list("pk", flat=True))


def lock_rows(rows: QuerySet[Any]) -> list[int]:
    """Lock those of the rows that nobody else has locked, and return their keys; they are given by
    key. (SQLite: the caller has the turn.)"""
    rows = rows.order_by("pk").values_list("pk", flat=True)
    return list(rows if connections[rows.db].vendor == "sqlite" else _locking(rows, wait=False))


def _locking(rows: QuerySet[Any], *, wait: bool) -> QuerySet[Any]:
    features = connections[rows.db].features
    skip = not wait and features.has_select_for_update_skip_locked
    no_key = features.has_select_for_no_key_update
    return rows.select_for_update(skip_locked=skip, no_key=no_key)
