"""The work that cannot be saved: the job and one UPDATE in a transaction, in forked processes."""

from __future__ import annotations

import gc
import json
import multiprocessing
import resource
from typing import Any

from django.db import connection, connections, transaction
from django.db.models import Model
from django.utils import timezone

from benchmarks import jobs, processes, tally
from benchmarks.models import Ticket
from django_async.models import Job

IDENTITY = "0" * 40

SAMPLE = 200
"""Transactions that tell how many are needed."""


def measure(workload: str, workers: int, seconds: float) -> dict[str, float]:
    """Transactions a second of so many processes, over about so many seconds; their CPU time."""
    rate = _rate(workload, workers, SAMPLE if workload in ("W1", "W2", "W5") else 2 * workers)
    count = max(workers, round(rate * seconds))
    before = _cpu()
    rate = _rate(workload, workers, count)
    spent = {who: (now - before[who]) / count for who, now in _cpu().items()}
    return {"rate": rate, **spent}


def _cpu() -> dict[str, float]:
    """CPU seconds so far, of the processes that have ended and of the server."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "workers": children.ru_utime + children.ru_stime,
        "server": processes.server_cpu_seconds(),
    }


def enqueue(workload: str, argument: str) -> object:
    """The row of a job as Django saves it, with no more than that."""
    job = _row(workload, argument)
    Model.save(job, force_insert=True)
    return job


def enqueue_many(workload: str, argument: str, count: int) -> object:
    return Job.objects.bulk_create(_row(workload, argument) for _ in range(count))


def _row(workload: str, argument: str) -> Job:
    args = json.dumps([workload, argument])
    return Job(name="benchmarks.jobs.run_inside", args=args, identity=IDENTITY)


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
