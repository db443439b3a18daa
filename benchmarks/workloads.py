"""What is timed: two jobs, the pass over the queue that runs them, and the yardstick."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import connections, transaction
from django.utils import timezone

from benchmarks.models import Line, Ticket
from django_async import conf, fetch, worker
from django_async.engine import Engine
from django_async.forking import close_connections
from django_async.lane import Lane
from django_async.parents import Registration
from django_async.report import Lines
from django_async.walk import Walk
from forkpool import ForkPool, StopSignals


def insert(alias: str) -> None:
    """A job that writes one row."""
    Line.objects.using(alias).create(at=time.monotonic())


def nothing(alias: str) -> None:
    """A job that does nothing: what is left is the queue's own work."""


@contextmanager
def workers(number: int) -> Iterator[tuple[ForkPool, StopSignals]]:
    """The processes that ``manage.py flush_queue --workers number`` forks."""
    with (
        StopSignals() as stop,
        ForkPool(
            number,
            initializer=worker.begin,
            before_fork=close_connections,
            wakeup=stop.fileno(),
        ) as pool,
    ):
        yield pool, stop


def flush(alias: str, pool: ForkPool, stop: StopSignals) -> int:
    """One pass over the queue, put together as the command does it; how many jobs it executed."""
    reads = fetch.Fetch(alias, fetch.bounds(alias), fetch.Selection())
    lane = Lane(
        using=alias,
        walk=Walk(reads, conf.current().batch_size, time.monotonic),
        parent=Registration(alias, len(pool.pids)),
        pool=pool,
        clock=time.monotonic,
        at_once=1 if connections[alias].vendor == "sqlite" else None,
    )
    engine = Engine(
        lanes=[lane],
        pool=pool,
        clock=time.monotonic,
        stop=stop,
        report=Lines(print, verbosity=0),
        attempt=worker.attempt,
    )
    return engine.run().executed


def yardstick(alias: str, processes: int, tickets: list[int]) -> None:
    """The same inserts without a queue, each in a transaction with one UPDATE by primary key."""
    close_connections()
    context = multiprocessing.get_context("fork")
    shares = [tickets[start::processes] for start in range(processes)]
    running = [context.Process(target=_serve, args=(alias, share)) for share in shares]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if failed := [process.exitcode for process in running if process.exitcode]:
        raise RuntimeError(f"Processes of the yardstick failed, with exit codes {failed}.")


def _serve(alias: str, tickets: Iterable[int]) -> None:
    gc.freeze()  # as the pool's workers do
    for ticket in tickets:
        with transaction.atomic(using=alias):
            insert(alias)
            Ticket.objects.using(alias).filter(pk=ticket).update(done=timezone.now())
