"""A fork for each job: against a bare loop that forks, connects and inserts one row.

A job is counted by the row that it writes, which bears the moment: memory that all processes share
would need a place for each process, and to make and read these takes longer than to fork.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from django.db import connections
from django.db.models import Count, Max, Min

from benchmarks import processes
from benchmarks.models import Line
from benchmarks.systems import Adapter

WORKLOAD = "fork"
SAMPLE = 10
"""Jobs a worker that tell how many are needed."""
DEADLINE = 120.0
"""Seconds after which a queue that has not run its jobs has failed."""

Run = Callable[[int], None]
"""Runs so many jobs; of a queue, until it knows of none that is left."""


def rate(run: Run, workers: int, seconds: float) -> float:
    """Jobs a second, over about so many seconds."""
    sample = SAMPLE * workers
    return _timed(run, max(sample, round(_timed(run, sample) * seconds)))


def _timed(run: Run, count: int) -> float:
    """From the first row to the last one."""
    before = Line.objects.aggregate(last=Max("pk"))["last"] or 0
    run(count)
    rows = Line.objects.filter(pk__gt=before)
    processes.wait_for(lambda: rows.count() >= count, DEADLINE, every=0.05)
    found = rows.aggregate(number=Count("pk"), first=Min("at"), last=Max("at"))
    if found["number"] != count:
        raise RuntimeError(f"{count} jobs left {found['number']} rows.")
    return (count - 1) / float(found["last"] - found["first"])


def by_queue(adapter: Adapter, group: processes.Group) -> Run:
    """The workers stand still while jobs are enqueued, and then run them."""

    def run(count: int) -> None:
        with group.held():
            adapter.enqueue_many(WORKLOAD, "", count)
        processes.wait_for(lambda: not adapter.left(), DEADLINE, every=0.05)
        group.check()

    return run


def by_loop(workers: int) -> Run:
    """One process that has as many children at a time as there are workers, each for one row."""

    def run(count: int) -> None:
        connections.close_all()
        for number in range(count):
            if number >= workers:
                _reap()
            if os.fork() == 0:
                _live()
        for _ in range(min(count, workers)):
            _reap()

    return run


def _live() -> None:
    status = 1
    try:
        Line.objects.create(at=time.monotonic())
        status = 0
    finally:
        os._exit(status)


def _reap() -> None:
    pid, status = os.wait()
    if status:
        raise RuntimeError(f"Process {pid} of the bare loop ended with {status}.")
