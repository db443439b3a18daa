"""How many jobs there are in each state, told at a cost that does not grow with their number.

Each state is counted row by row up to EXACT, in its own index. Beyond that the database's estimate
is told, which every vendor keeps in its own way:

- PostgreSQL's statistics know how many rows each partial index has.
- InnoDB estimates a range from its ends, but never as more than half of the table.
- SQLite estimates nothing; that ids have few gaps is all there is to go by.

So on the latter two the largest state is what the others leave of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import IntegerField, Model, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.lookups import Exact

from django_async.models import Job
from django_async.pending import in_order_sql

EXACT = 100_000
"""Rows of one state that are counted one by one."""

BY_INDEX = {
    "executed": ("async_job_executed", "executed"),
    "pending": ("async_job_to_fetch", "priority"),
    "cancelled": ("async_job_cancelled", "cancelled"),
    "discarded": ("async_job_discarded", "discarded"),
}
"""The index of each state, and the column that leads it."""


@dataclass(frozen=True, slots=True)
class Census:
    """The jobs of each state."""

    executed: int
    pending: int
    cancelled: int
    discarded: int
    approximate: bool
    """Whether one of the numbers is the database's estimate."""

    @property
    def all(self) -> int:
        return self.executed + self.pending + self.cancelled + self.discarded


def take(using: str, exact: int | None = None) -> Census:
    """Count the jobs of each state up to so many (EXACT), and estimate those that are more."""
    exact = EXACT if exact is None else exact
    numbers = {state: _count(_rows(state, using), exact) for state in BY_INDEX}
    large = [state for state, number in numbers.items() if number > exact]
    if large:
        _estimate(numbers, large, using)
    return Census(**numbers, approximate=bool(large))


def pending_jobs(using: str) -> QuerySet[Job]:
    """The pending jobs, by the condition that their index has on this database."""
    jobs = Job.objects.using(using)
    if connections[using].vendor != "mysql":
        return jobs.pending()
    # A column that the models do not know.
    pending = RawSQL("async_job.pending", (), output_field=IntegerField())
    return jobs.filter(Exact(pending, 1))


def size(model: type[Model], using: str) -> int:
    """How many rows a table has: counted up to EXACT, and estimated above."""
    rows = model._default_manager.using(using).order_by("pk").values("pk")
    found = _count(rows, EXACT)
    return found if found <= EXACT else max(found, _estimated_size(model, using))


def _count(rows: QuerySet[Any, Any], exact: int) -> int:
    """How many rows there are, counted no further than one beyond so many."""
    return rows[: exact + 1].count()


def _rows(state: str, using: str) -> QuerySet[Job, Any]:
    """The jobs of a state, in the order of its index and with nothing that the index lacks."""
    _, column = BY_INDEX[state]
    jobs = pending_jobs(using)
    if state != "pending":
        jobs = Job.objects.using(using).filter(**{f"{state}__isnull": False})
    rows: QuerySet[Job, Any] = jobs.order_by(column).values(column)
    return rows


def _estimate(numbers: dict[str, int], large: Sequence[str], using: str) -> None:
    """Put the database's estimates in the place of the numbers of the large states."""
    vendor = connections[using].vendor
    for state in large:
        if vendor != "sqlite":
            estimate = _postgresql if vendor == "postgresql" else _mysql
            numbers[state] = max(numbers[state], estimate(state, using))
    if vendor != "postgresql":
        largest = max(numbers, key=lambda state: numbers[state])
        others = sum(numbers.values()) - numbers[largest]
        numbers[largest] = max(numbers[largest], _estimated_size(Job, using) - others)


def _postgresql(state: str, using: str) -> int:
    """As the planner does it: the rows on a page when the statistics were made, for the pages of
    now."""
    index, _ = BY_INDEX[state]
    [[rows]] = _fetch(
        using,
        "SELECT reltuples / GREATEST(relpages, 1)"
        " * (pg_relation_size(oid) / current_setting('block_size')::int)"
        f" FROM pg_class WHERE oid = '{index}'::regclass",
    )
    return int(rows)


def _mysql(state: str, using: str) -> int:
    where = in_order_sql("mysql") if state == "pending" else f"{state} IS NOT NULL"
    index, _ = BY_INDEX[state]
    with connections[using].cursor() as cursor:
        cursor.execute(f"EXPLAIN SELECT 1 FROM async_job FORCE INDEX ({index}) WHERE {where}")
        names = [column[0] for column in cursor.description]
        return int(dict(zip(names, cursor.fetchone(), strict=True))["rows"])


def _estimated_size(model: type[Model], using: str) -> int:
    """How many rows the table has, as the database believes."""
    table = model._meta.db_table
    sql = {
        "postgresql": f"SELECT reltuples FROM pg_class WHERE oid = '{table}'::regclass",
        "mysql": "SELECT table_rows FROM information_schema.tables"
        f" WHERE table_schema = DATABASE() AND table_name = '{table}'",
        "sqlite": f"SELECT (SELECT MAX(id) FROM {table}) - (SELECT MIN(id) FROM {table}) + 1",
    }
    [[number]] = _fetch(using, sql[connections[using].vendor])
    return int(number or 0)


def _fetch(using: str, sql: str) -> list[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())
