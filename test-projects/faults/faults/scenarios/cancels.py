"""Cancels that race with the jobs that they mean."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from random import Random

from django_async.api import deschedule
from django_async.forking import begin_worker, close_connections
from django_async.models import Job
from faults import jobs, ledger
from faults.scale import Figures, Scale, Violation, percentile, spread
from faults.scenario import scenario
from faults.world import World
from forkpool import Ended, ForkPool

CANCELLERS = 2

ROUND = 20
"""Calls that a process makes at a time."""

BATCH = 400
"""Jobs that are cancelled in a pass, or not."""

Call = tuple[int, int, float]
"""The job, how many were cancelled, and how long it took."""


@scenario(16, "cancels")
def cancel_in_time(world: World, scale: Scale, rng: Random) -> Figures:
    """Jobs are cancelled while they run, wait and end: none is both cancelled and executed."""
    calls: list[Call] = []
    wanted = scale.count(1_000, 10_000)
    while len(calls) < wanted:
        calls += _race(world, rng)
    world.drain()
    _compare(calls)
    seconds = [taken for _, _, taken in calls]
    if world.database != "sqlite":  # where each write waits for the writer before it
        late = percentile(seconds, 99) * 1000
        scale.judge("a cancel, ms", late, goal=100, bound=3000)
    cancelled = Job.objects.cancelled().count()
    return {"calls": len(calls), "cancelled": cancelled, **spread("a call", seconds)}


def _race(world: World, rng: Random) -> list[Call]:
    """Cancel jobs of one pass while it lasts, in several processes; the calls."""
    known = Job.objects.count()
    numbers = range(known, known + BATCH)
    ids = world.schedule(jobs.pause, [[number] for number in numbers])
    calls: list[Call] = []
    pool = ForkPool(CANCELLERS, initializer=begin_worker, before_fork=close_connections)
    with world.flush() as flush, pool:
        while not flush.ended:
            while pool.idle:
                pool.submit(_cancel_some, numbers, ids, rng.randrange(10**6))
            calls += _results(pool.wait(0.1))
        calls += _results(pool.shutdown())
        flush.end(0)
    return calls


def _cancel_some(numbers: Sequence[int], ids: Sequence[int], seed: int) -> list[Call]:
    """Cancel jobs near those that have begun last: some have ended, some run, some wait."""
    rng = Random(seed)
    calls: list[Call] = []
    while len(calls) < ROUND:
        begun = [ids.index(start.job) for start in ledger.latest(4) if start.job in ids]
        place = max(begun, default=0) + rng.randrange(-5, 8)
        if place in range(len(ids)):
            began = time.monotonic()
            number = deschedule(jobs.pause, [numbers[place]])
            calls.append((ids[place], number, time.monotonic() - began))
    return calls


def _results(ended: Iterable[Ended]) -> list[Call]:
    calls: list[Call] = []
    for end in ended:
        if end.error:
            raise end.error
        calls += end.value
    return calls


def _compare(calls: list[Call]) -> None:
    """Each cancelled job was cancelled by one call, and no call has claimed more."""
    claimed = sorted(job for job, number, _ in calls for _ in range(number))
    cancelled = sorted(Job.objects.cancelled().values_list("pk", flat=True))
    if claimed != cancelled:
        raise Violation(f"the calls cancelled {len(claimed)} jobs, and {len(cancelled)} are")
