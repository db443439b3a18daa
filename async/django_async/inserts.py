"""New jobs: one, or many in one statement, whatever their number.

Django's ORM takes as long to write an insert down as the server to execute it, and looks at each
value of each row. An ORM ``bulk_create`` sends one statement for each few dozen rows on SQLite.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import CharField, Field, TextField
from django.db.models.signals import post_save, pre_save

from django_async import current
from django_async.models import Job

LARGEST_PACKET = 64_000_000
"""Bytes. What MySQL's client library sends at the most, whatever the server would take."""

OVERHEAD = 1_000
"""Bytes of a MySQL statement that are not values."""

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the new rows, with its values as the driver takes them."""

    field: Field[Any, Any]
    values: list[Any]
    is_constant: bool


def one(job: Job, using: str) -> None:
    """Insert the job, and give it its id.

    Raises ValidationError if its group takes no more jobs.
    """
    _note_parent([job], using)
    if pre_save.has_listeners(Job) or post_save.has_listeners(Job):  # the application's
        job.save(using=using, force_insert=True)
        return
    if job.group is not None:
        job.group.check_open(using)
    connection = connections[using]
    values = _ready(job, connection)
    returns = connection.features.can_return_columns_from_insert
    with transaction.mark_for_rollback_on_error(using=using), connection.cursor() as cursor:
        cursor.execute(_statement(tuple(values), returns), list(values.values()))
        _note_insertion(job, cursor.fetchone()[0] if returns else cursor.lastrowid, using)


def many(jobs: Sequence[Job], using: str) -> None:
    """Insert the jobs, all or none, and give each its id."""
    if not jobs:
        return
    _note_parent(jobs, using)
    connection = connections[using]
    columns = [column for field in _fields() if (column := _column(field, jobs, connection))]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        ids = _INSERT[connection.vendor](cursor, columns)
    for job, job_id in zip(jobs, ids, strict=True):
        _note_insertion(job, job_id, using)


def _note_parent(jobs: Sequence[Job], using: str) -> None:
    if (parent := current.own_id(using)) is not None:
        for job in jobs:
            job.scheduled_by = parent


def _note_insertion(job: Job, job_id: int, using: str) -> None:
    job.pk = job_id
    job._state.adding = False
    job._state.db = using


def _ready(job: Job, connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """The job's values as the driver takes them, by their columns; null is what is left out."""
    values = {field: _values(field, [job])[0] for field in _fields()}
    return {
        field.attname: value
        if type(value) in (str, int)
        else field.get_db_prep_save(value, connection)
        for field, value in values.items()
        if value is not None
    }


@cache
def _statement(columns: Sequence[str], returns: bool) -> str:
    values = ", ".join(["%s"] * len(columns))
    returning = " RETURNING id" if returns else ""
    return f"INSERT INTO async_job ({', '.join(columns)}) VALUES ({values}){returning}"


def _column(
    field: Field[Any, Any], jobs: Sequence[Job], connection: BaseDatabaseWrapper
) -> _Column | None:
    """The jobs' values of a field; None if all of them are null, as what is left out is. Most
    columns have one value in all rows, which need not be made ready more than once."""
    values = _values(field, jobs)
    first = values[0]
    if values.count(first) == len(values):
        if first is None:
            return None
        ready = field.get_db_prep_save(first, connection)
        return _Column(field, [ready] * len(values), is_constant=True)
    if not isinstance(field, CharField | TextField):  # whose values are texts, and taken as such
        values = [field.get_db_prep_save(value, connection) for value in values]
    return _Column(field, values, is_constant=False)


def _values(field: Field[Any, Any], jobs: Sequence[Job]) -> list[Any]:
    """All are added at the same moment."""
    if getattr(field, "auto_now_add", False):
        moment = field.pre_save(jobs[0], add=True)
        for job in jobs:
            setattr(job, field.attname, moment)
    return list(map(attrgetter(field.attname), jobs))


def _postgresql(cursor: CursorWrapper, columns: Sequence[_Column]) -> list[int]:
    """Ids from the sequence first, then an array for each column whose values differ: the
    statement's length is constant."""
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence('async_job', 'id')) FROM generate_series(1, %s)",
        [len(columns[0].values)],
    )
    ids = [row[0] for row in cursor.fetchall()]
    arrays = [column for column in columns if not column.is_constant]
    constants = [column for column in columns if column.is_constant]
    unnested = ", ".join(f"%s::{column.field.db_type(cursor.db)}[]" for column in arrays)
    # Not %s::integer, which takes the sign of a number for an operator, and the rest for too large.
    fixed = "".join(f", CAST(%s AS {column.field.db_type(cursor.db)})" for column in constants)
    cursor.execute(
        f"INSERT INTO async_job (id, {_names([*arrays, *constants])})"
        f" SELECT given.*{fixed} FROM UNNEST({', '.join(filter(None, ['%s::bigint[]', unnested]))})"
        " AS given",
        [
            *(column.values[0] for column in constants),
            ids,
            *(column.values for column in arrays),
        ],
    )
    return ids


def _sqlite(cursor: CursorWrapper, columns: Sequence[_Column]) -> list[int]:
    """One JSON text; the one writer gets consecutive ids."""
    rows = _rows(columns)
    values = ", ".join(f"json_extract(value, '$[{index}]')" for index in range(len(rows[0])))
    cursor.execute(
        f"INSERT INTO async_job ({_names(columns)})"
        f" SELECT {values} FROM json_each(%s) ORDER BY key",
        [json.dumps(rows)],
    )
    cursor.execute("SELECT last_insert_rowid()")
    [last] = cursor.fetchone()
    return list(range(last - len(rows) + 1, last + 1))


def _mysql(cursor: CursorWrapper, columns: Sequence[_Column]) -> list[int]:
    """Rows of values, in as few statements as the packets' size allows."""
    cursor.execute("SELECT @@max_allowed_packet")
    [packet] = cursor.fetchone()
    # Half of it, for quotes and backslashes are doubled on the way.
    largest = (min(packet, LARGEST_PACKET) - OVERHEAD) // 2
    parts = _parts(_rows(columns), largest)
    return [job_id for part in parts for job_id in _mysql_part(cursor, _names(columns), part)]


def _mysql_part(cursor: CursorWrapper, names: str, rows: Rows) -> list[int]:
    row = f"({', '.join(['%s'] * len(rows[0]))})"
    sql = f"INSERT INTO async_job ({names}) VALUES {', '.join([row] * len(rows))}"
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
    part: list[Sequence[Any]] = []
    size = 0
    for row in rows:
        length = sum(len(str(value).encode()) + len(", ''") for value in row)
        if part and size + length > largest:
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    yield part


@cache
def _fields() -> list[Field[Any, Any]]:
    return [field for field in Job._meta.concrete_fields if not field.primary_key]


def _names(columns: Sequence[_Column]) -> str:
    return ", ".join(column.field.attname for column in columns)


def _rows(columns: Sequence[_Column]) -> Rows:
    return list(zip(*(column.values for column in columns), strict=True))


_INSERT = {"postgresql": _postgresql, "sqlite": _sqlite, "mysql": _mysql}
