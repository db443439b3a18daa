"""Several parents on one queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from random import Random
from statistics import median

from django.db import connections
from django.db.models import Max, Min

from faults import jobs, probes
from faults.models import Entry
from faults.processes import Flush, wait_until
from faults.progress import end_in_order
from faults.scale import Figures, NotHere, Scale
from faults.scenario import ALL, SERVERS, scenario
from faults.world import World

Start = Callable[..., AbstractContextManager[Flush]]
"""Begins a pass or a service."""

WORKERS = 4
"""Of each parent, where there are several."""

GATES = {
    "postgresql": ("LOCK TABLE async_job IN ACCESS EXCLUSIVE MODE", "ROLLBACK"),
    "mysql": ("LOCK TABLES async_job WRITE", "UNLOCK TABLES"),
}
WAITING = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = CURRENT_DATABASE()"
    " AND wait_event_type = 'Lock'",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
    " AND state LIKE 'Waiting for table%%'",
}


@scenario(5, "parents", ALL)
def share_a_queue(world: World, scale: Scale, rng: Random) -> Figures:
    """Two and three parents drain one queue, each job once."""
    total = scale.count(200, 20_000)
    for parents in (2, 3):
        world.schedule(jobs.enter, [[number] for number in range(total)])
        with ExitStack() as stack:
            flushes = [
                stack.enter_context(world.flush(workers=WORKERS, name=f"flush-{number}"))
                for number in range(parents)
            ]
            for flush in flushes:
                flush.end(0)
    return {"jobs": 2 * total}


@scenario(5.1, "parents-rate", SERVERS)
def drain_together(world: World, scale: Scale, rng: Random) -> Figures:
    """Two and three parents drain a queue as fast as one with as many workers."""
    return _compare(world, scale, (2, 3), world.flush)


@scenario(5.2, "services-rate", SERVERS)
def serve_together(world: World, scale: Scale, rng: Random) -> Figures:
    """Three services drain a queue as fast as one with as many workers."""
    if not scale.strict:
        raise NotHere("it is for the long form: --minutes")
    return _compare(world, scale, (3,), world.service)


def _compare(world: World, scale: Scale, numbers: Sequence[int], start: Start) -> Figures:
    figures: Figures = {}
    jobs_each = scale.count(400, 4_000)
    for parents in numbers:
        ratios = []
        for _ in range(scale.count(1, 15)):
            alone = _rate(world, 1, parents * WORKERS, jobs_each, start)
            ratios.append(_rate(world, parents, WORKERS, jobs_each, start) / alone)
        figures[f"{parents} parents to one"] = round(median(ratios), 2)
        scale.judge_ratio(f"the rate of {parents} parents to one", median(ratios), goal=0.85)
    return figures


def _rate(world: World, parents: int, workers: int, total: int, start: Start) -> float:
    """Jobs a second, from the first one's effect to the last one's."""
    world.empty()
    world.schedule(jobs.enter, [[number] for number in range(total)])
    with ExitStack() as stack:
        with _gate(parents):
            flushes = [
                stack.enter_context(start(workers=workers, name=f"flush-{number}"))
                for number in range(parents)
            ]
        if start == world.service:
            end_in_order(flushes, within=world.patience)
        for flush in flushes:
            flush.end(0)
    ends = Entry.objects.aggregate(first=Min("at"), last=Max("at"))
    return total / float(ends["last"] - ends["first"])


@contextmanager
def _gate(parents: int) -> Iterator[None]:
    """Start so many parents in the block; they begin together, when all of them have started."""
    connection = connections["persistent"]
    lock, unlock = GATES[connection.vendor]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("BEGIN")
        cursor.execute(lock)
        yield
        waiting = WAITING[connection.vendor]
        wait_until(lambda: len(probes.ask(waiting)) >= parents, "the start of the parents")
        cursor.execute(unlock)
