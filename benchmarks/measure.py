"""One round: everything timed once, the yardstick next to what is compared with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.apps import apps
from django.core.management.color import no_style
from django.db import connections
from django.db.models import Min

from benchmarks import workloads
from benchmarks.models import Line, Ticket
from django_async.api import schedule, schedule_many

Job = Callable[[str], None]

MANY = 10_000
"""Jobs of one call of ``schedule_many()``."""

WAITING = 2
"""Workers that wait for the first job."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    jobs: int
    workers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """Jobs, or transactions, a second with a number of processes."""

    yardstick: float
    insert: float
    nothing: float


@dataclass(frozen=True, slots=True)
class Round:
    """What one round gave."""

    yardstick: float
    """Transactions a second of one process, measured next to the enqueuing."""
    schedule: float
    """Jobs a second."""
    schedule_many: float
    """Jobs a second."""
    drains: dict[int, Drain]
    """By the number of processes."""
    from_start: float
    """Seconds."""
    from_ready: float
    """Seconds."""


@contextmanager
def scratch_database(alias: str) -> Iterator[None]:
    """Within the block, the alias leads to an empty database."""
    connection = connections[alias]
    name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
    if connection.vendor == "sqlite":
        _execute(alias, "PRAGMA journal_mode=WAL")  # stays in the file
    try:
        yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def measure(alias: str, plan: Plan) -> Round:
    """Time everything once."""
    return Round(
        yardstick=_yardstick(alias, 1, plan.jobs),
        schedule=_enqueue(alias, plan.jobs),
        schedule_many=_enqueue_many(alias),
        drains={workers: _drain(alias, workers, plan.jobs) for workers in plan.workers},
        from_start=_first_from_start(alias),
        from_ready=_first_from_ready(alias),
    )


def _drain(alias: str, workers: int, jobs: int) -> Drain:
    return Drain(
        yardstick=_yardstick(alias, workers, jobs),
        insert=_flush(alias, workloads.insert, workers, jobs),
        nothing=_flush(alias, workloads.nothing, workers, jobs),
    )


def _enqueue(alias: str, jobs: int) -> float:
    def one_by_one() -> None:
        for _ in range(jobs):
            schedule(workloads.insert, [alias], using=alias)

    _empty(alias)
    return _rate(jobs, one_by_one)


def _enqueue_many(alias: str) -> float:
    _empty(alias)
    return _rate(MANY, lambda: _fill(alias, workloads.insert, MANY))


def _yardstick(alias: str, processes: int, count: int) -> float:
    _empty(alias)
    rows = Ticket.objects.using(alias).bulk_create(Ticket() for _ in range(count))
    tickets = [row.pk for row in rows]
    return _rate(count, lambda: workloads.yardstick(alias, processes, tickets))


def _flush(alias: str, job: Job, workers: int, jobs: int) -> float:
    """From the first fork to the end of the last worker, as the yardstick is timed."""

    def flush() -> None:
        with workloads.workers(workers) as (pool, stop):
            executed = workloads.flush(alias, pool, stop)
        _expect(executed, jobs)

    _empty(alias)
    _fill(alias, job, jobs)
    return _rate(jobs, flush)


def _first_from_start(alias: str) -> float:
    """Seconds from the start of a process that flushes the queue to the first row."""
    _empty(alias)
    _fill(alias, workloads.insert, WAITING)
    command = f"-m django flush_queue --verbosity 0 --database {alias} --workers {WAITING}"
    began = time.monotonic()
    subprocess.run(
        [sys.executable, *command.split()],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "benchmarks.settings"},
        check=True,
    )
    return _first_row(alias) - began


def _first_from_ready(alias: str) -> float:
    """Seconds from the start of a pass, whose workers wait already, to the first row."""
    _empty(alias)
    _fill(alias, workloads.insert, WAITING)
    with workloads.workers(WAITING) as (pool, stop):
        while pool.idle < WAITING:
            pool.wait()
        began = time.monotonic()
        _expect(workloads.flush(alias, pool, stop), WAITING)
    return _first_row(alias) - began


def _first_row(alias: str) -> float:
    return float(Line.objects.using(alias).aggregate(first=Min("at"))["first"])


def _fill(alias: str, job: Job, jobs: int) -> None:
    schedule_many(({"function": job, "args": [alias]} for _ in range(jobs)), using=alias)


def _empty(alias: str) -> None:
    """Nothing of the measurement before is left: neither rows nor stale statistics."""
    operations = connections[alias].ops
    tables = [model._meta.db_table for model in apps.get_models()]
    operations.execute_sql_flush(operations.sql_flush(no_style(), tables))
    _execute(alias, "ANALYZE")


def _execute(alias: str, statement: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)


def _rate(count: int, work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return count / (time.monotonic() - began)


def _expect(executed: int, jobs: int) -> None:
    if executed != jobs:
        raise RuntimeError(f"{executed} jobs were executed where there were {jobs}.")
