"""Many jobs in one statement, whatever their number: ids first, or ids that the insert gives back.

An ORM ``bulk_create`` sends one statement for each few dozen rows on SQLite, and binds each value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import Field

from django_async.models import Job

LARGEST_PACKET = 64_000_000
"""Bytes. What MySQL's client library sends at the most, whatever the server would take."""

OVERHEAD = 1_000
"""Bytes of a MySQL statement that are not values."""

Rows = Sequence[list[Any]]


def insert(jobs: Sequence[Job], using: str) -> None:
    """Insert the jobs, all or none, and give each its id."""
    if not jobs:
        return
    connection = connections[using]
    rows = [_values(job, connection) for job in jobs]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        ids = _INSERT[connection.vendor](cursor, rows)
    for job, job_id in zip(jobs, ids, strict=True):
        job.pk = job_id
        job._state.adding = False
        job._state.db = using


def _postgresql(cursor: CursorWrapper, rows: Rows) -> list[int]:
    """Ids from the sequence first, then one array a column: the statement's length is constant."""
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence('async_job', 'id')) FROM generate_series(1, %s)",
        [len(rows)],
    )
    ids = [row[0] for row in cursor.fetchall()]
    arrays = ", ".join(f"%s::{field.db_type(cursor.db)}[]" for field in _fields())
    cursor.execute(
        f"INSERT INTO async_job (id, {_columns()}) SELECT * FROM UNNEST(%s::bigint[], {arrays})",
        [ids, *(list(column) for column in zip(*rows, strict=True))],
    )
    return ids


def _sqlite(cursor: CursorWrapper, rows: Rows) -> list[int]:
    """One JSON text; the one writer gets consecutive ids."""
    values = ", ".join(f"json_extract(value, '$[{index}]')" for index in range(len(rows[0])))
    cursor.execute(
        f"INSERT INTO async_job ({_columns()}) SELECT {values} FROM json_each(%s) ORDER BY key",
        [json.dumps(rows)],
    )
    cursor.execute("SELECT last_insert_rowid()")
    [last] = cursor.fetchone()
    return list(range(last - len(rows) + 1, last + 1))


def _mysql(cursor: CursorWrapper, rows: Rows) -> list[int]:
    """Rows of values, in as few statements as the packets' size allows."""
    cursor.execute("SELECT @@max_allowed_packet")
    [packet] = cursor.fetchone()
    # Half of it, for quotes and backslashes are doubled on the way.
    largest = (min(packet, LARGEST_PACKET) - OVERHEAD) // 2
    return [job_id for part in _parts(rows, largest) for job_id in _mysql_part(cursor, part)]


def _mysql_part(cursor: CursorWrapper, rows: Rows) -> list[int]:
    row = f"({', '.join(['%s'] * len(rows[0]))})"
    sql = f"INSERT INTO async_job ({_columns()}) VALUES {', '.join([row] * len(rows))}"
    params = [value for row in rows for value in row]
    if cursor.db.features.can_return_rows_from_bulk_insert:  # MariaDB
        cursor.execute(f"{sql} RETURNING id", params)
        return [row[0] for row in cursor.fetchall()]
    cursor.execute(sql, params)
    # InnoDB gives consecutive ids to an insert whose number of rows it knows beforehand.
    cursor.execute("SELECT LAST_INSERT_ID(), @@auto_increment_increment")
    first, step = cursor.fetchone()
    return [first + step * index for index in range(len(rows))]


def _parts(rows: Rows, largest: int) -> Iterator[Rows]:
    part: list[list[Any]] = []
    size = 0
    for row in rows:
        length = sum(len(str(value).encode()) + len(", ''") for value in row)
        if part and size + length > largest:
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    yield part


def _fields() -> list[Field[Any, Any]]:
    return [field for field in Job._meta.concrete_fields if not field.primary_key]


def _columns() -> str:
    return ", ".join(field.attname for field in _fields())


def _values(job: Job, connection: BaseDatabaseWrapper) -> list[Any]:
    return [
        field.get_db_prep_save(field.pre_save(job, add=True), connection) for field in _fields()
    ]


_INSERT = {"postgresql": _postgresql, "sqlite": _sqlite, "mysql": _mysql}
