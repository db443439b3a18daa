"""Whether the queue stays as fast however much lies in its table: waiting, done, in the future, or
dead and not to be removed, since a transaction that is still open is older.

Run by ``python -m benchmarks backlog`` in the queue's own environment, on its scratch database.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import django
from django.core.management import call_command
from django.db import connection

from benchmarks import latency, processes
from benchmarks.systems import django_async

PAGE = 64
WORKERS = 2
DEADLINE = 60.0
"""Seconds after which a service that does not get done with what waits is a failure."""
READS = 200
PATIENCE = 15.0
"""Seconds after which fewer reads have to do."""
DRAINED = 200
BLOCK = 1_000
SHARES = ("waiting", "executed", "future")

OLD = {
    "postgresql": ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM async_job LIMIT 1"),
    "mysql": ("START TRANSACTION WITH CONSISTENT SNAPSHOT",),
    "sqlite": ("BEGIN", "SELECT 1 FROM async_job LIMIT 1"),
}
"""Statements that begin a transaction which sees the rows as they are, from now on."""


def backlog(sizes: list[int], priorities: list[int]) -> dict[str, Any]:
    """By size and number of priorities, and beside an old transaction: milliseconds of a fetch and
    of ``schedule()``, jobs a second, and how the database carries the fetch out."""
    depths = [_measured(size, number) for number in priorities for size in sizes]
    return {"depths": depths, "aged": _aged(max(sizes))}


def _measured(size: int, priorities: int) -> dict[str, Any]:
    _fill(size, priorities)
    return {"size": size, "priorities": priorities, **_figures(), "explain": _explained()}


def _figures() -> dict[str, Any]:
    return {
        "fetch": _milliseconds(_fetch),
        "schedule": _milliseconds(_schedule),
        "drain": _drain(),
    }


def _aged(size: int) -> dict[str, Any]:
    """With a few jobs that wait, once so many before them have been done: before that, beside a
    transaction that is older than all of it, and after the end of that."""
    from django.utils import timezone

    from django_async.models import Job

    found: dict[str, Any] = {"size": size}
    _fill(BLOCK, 1, SHARES[:1])
    found["before"] = _aged_figures()
    _fill(size + BLOCK, 1, SHARES[:1])
    last = Job.objects.order_by("-pk").values_list("pk", flat=True)[BLOCK]
    with _old_transaction():
        now = timezone.now()
        Job.objects.filter(pk__lte=last).update(started=now, executed=now, attempts=1)
        found["beside"] = _aged_figures()
        found["explain"] = _explained()
    _schedule()  # PostgreSQL does not see what may go until another transaction has come
    found["after"] = _aged_figures()
    return found


def _aged_figures() -> dict[str, Any]:
    """And what a service makes of it: it reads little between two looks from the top."""
    glance = _milliseconds(_glance_at())
    return {**_figures(), "glance": glance, "pick-up": _percentiles(_pick_up())}


@contextmanager
def _old_transaction() -> Iterator[None]:
    """Within the block, a transaction that began before it is open in another session."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            for statement in OLD[other.vendor]:
                cursor.execute(statement)
        yield
    finally:
        other.close()


def _drain() -> float:
    """Jobs a second of one process."""
    began = time.perf_counter()
    call_command("flush_queue", jobs=DRAINED, verbosity=0)
    return DRAINED / (time.perf_counter() - began)


def _fill(size: int, priorities: int, shares: tuple[str, ...] = SHARES) -> None:
    """So many rows that wait, as many that are done, as many of the future, over the priorities."""
    from benchmarks.driver import empty

    empty()
    for share in shares if size else ():
        _insert_block(share, min(size, BLOCK), priorities)
        done = BLOCK
        while done < size:
            done += _double(share, min(done, size - done))
    table = (
        "ANALYZE TABLE async_job" if connection.vendor == "mysql" else "VACUUM ANALYZE async_job"
    )
    _execute("ANALYZE" if connection.vendor == "sqlite" else table)


def _insert_block(share: str, size: int, priorities: int) -> None:
    from datetime import timedelta

    from django.utils import timezone

    from benchmarks import jobs
    from django_async.api import schedule_many
    from django_async.models import Job

    later = timedelta(days=1) if share == "future" else None
    made = schedule_many(
        {
            "function": jobs.run_inside,
            "args": ["W2", share],
            "priority": number % priorities,
            "run_after": later,
        }
        for number in range(size)
    )
    if share == "executed":
        now = timezone.now()
        done = Job.objects.filter(pk__in=[job.pk for job in made])
        done.update(started=now, executed=now, attempts=1)


def _double(share: str, count: int) -> int:
    """Copy rows of this share inside the database."""
    from django_async.models import Job

    names = [
        connection.ops.quote_name(field.attname)
        for field in Job._meta.concrete_fields
        if not field.primary_key and not getattr(field, "generated", False)
    ]
    columns = ", ".join(names)
    _execute(
        f"INSERT INTO async_job ({columns}) SELECT {columns} FROM async_job"
        f" WHERE args LIKE '%%{share}%%' ORDER BY id LIMIT {count}"
    )
    return count


def _fetch() -> None:
    from django_async.fetch import Fetch, Selection

    Fetch("default", None, Selection()).page(None, PAGE)


def _glance_at() -> Callable[[], object]:
    """Reads what has come since now."""
    from django_async.fetch import Fetch, Selection, bounds
    from django_async.outlook import outlook

    seen, priorities = bounds("default"), outlook("default").priorities or (0,)
    reads = Fetch("default", None, Selection())
    return lambda: reads.since(seen, priorities, PAGE)


def _pick_up() -> list[float]:
    """Milliseconds until a service that has nothing else to do begins a job."""
    log = Path(os.environ["BENCHMARK_TALLY"], "workers.log")
    with processes.started(django_async.processes(WORKERS), log) as group:
        processes.wait_for(lambda: not django_async.left(), DEADLINE, every=1.0)
        return latency.delays(django_async, group, 0.0)[0]


def _schedule() -> None:
    from benchmarks import jobs
    from django_async import schedule

    schedule(jobs.run_inside, ["W2", "timed"])


def _milliseconds(work: Callable[[], object]) -> dict[str, float]:
    return _percentiles(list(_times(work)))


def _percentiles(times: list[float]) -> dict[str, float]:
    return {"p50": median(times), "p99": quantiles(times, n=100, method="inclusive")[98]}


def _times(work: Callable[[], object]) -> Iterator[float]:
    work()
    end = time.perf_counter() + PATIENCE
    for _ in range(READS):
        began = time.perf_counter()
        if began > end:
            return
        work()
        yield (time.perf_counter() - began) * 1000


def _explained() -> list[str]:
    """The plans of one fetch's statements."""
    seen: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        _fetch()
    how = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    how = "EXPLAIN (ANALYZE, BUFFERS)" if connection.vendor == "postgresql" else how
    return ["\n".join(_rows(f"{how} {sql}", params)) for sql, params in seen]


def _rows(sql: str, params: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [" ".join(map(str, row)) for row in cursor.fetchall()]


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


if __name__ == "__main__":
    django.setup()
    print(f"\n{json.dumps(backlog(**json.loads(sys.argv[2])))}")
