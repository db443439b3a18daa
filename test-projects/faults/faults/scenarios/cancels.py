"""Cancels that race with the jobs that they mean."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
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
    # A job's argument is to be its id, by which the others know it; ids of one call follow upon
    # one another.
    newest = Job.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    ids = range(newest + 1, newest + 1 + BATCH)
    if world.schedule(jobs.pause, [[number] for number in ids]) != list(ids):
        raise Violation("the jobs have other ids than expected")
    calls: list[Call] = []
    pool = ForkPool(CANCELLERS, initializer=begin_worker, before_fork=close_connections)
    with world.flush() as flush, pool:
        while not flush.ended:
            while pool.idle:
                pool.submit(partial(_cancel_some, ids, rng.randrange(10**6)))
            calls += _results(pool.wait(0.1))
        calls += _results(pool.shutdown())
        flush.end(0)
    return calls


def _cancel_some(ids: range, seed: int) -> list[Call]:
    """Cancel jobs near those that have begun last: some have ended, some run, some wait."""
    rng = Random(seed)
    calls: list[Call] = []
    while len(calls) < ROUND:
        begun = [start.job for start in ledger.latest(4) if start.job in ids]
        job = max(begun, default=ids[0]) + rng.randrange(-5, 8)
        if job in ids:
            began = time.monotonic()
            calls.append((job, deschedule(jobs.pause, [job]), time.monotonic() - began))
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
