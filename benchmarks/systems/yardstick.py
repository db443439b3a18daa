"""The work that cannot be saved: the job and one UPDATE in a transaction, in forked processes."""

from __future__ import annotations

import gc
import multiprocessing
from typing import Any

from django.db import connection, connections, transaction
from django.utils import timezone

from benchmarks import jobs, tally
from benchmarks.models import Ticket

SAMPLE = 200
"""Transactions that tell how many are needed."""


def measure(workload: str, workers: int, seconds: float) -> float:
    """Transactions a second of so many processes, over about so many seconds."""
    rate = _rate(workload, workers, SAMPLE if workload in ("W1", "W2", "W5") else 2 * workers)
    return _rate(workload, workers, max(workers, round(rate * seconds)))


def _rate(workload: str, workers: int, count: int) -> float:
    rows = Ticket.objects.bulk_create(Ticket() for _ in range(count))
    tickets = [row.pk for row in rows]
    tally.clear()
    connections.close_all()
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(workers)
    shares = [tickets[start::workers] for start in range(workers)]
    running = [context.Process(target=_serve, args=(ready, workload, one)) for one in shares]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if failed := [process.exitcode for process in running if process.exitcode]:
        raise RuntimeError(f"Processes of the yardstick failed, with exit codes {failed}.")
    done = tally.read()
    return done.jobs / (done.last - done.first)


def _serve(ready: Any, workload: str, tickets: list[int]) -> None:
    gc.freeze()  # as the pool's workers do
    connection.ensure_connection()
    argument = jobs.ARGUMENTS.get(workload, "")
    ready.wait()
    for ticket in tickets:
        tally.began()
        with transaction.atomic():
            jobs.WORK[workload](argument)
            Ticket.objects.filter(pk=ticket).update(done=timezone.now())
        tally.ended()
