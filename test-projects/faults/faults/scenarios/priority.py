"""The order of jobs by priority, in a service and while others arrive."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random

from django_async import clock
from django_async.models import Job
from faults import jobs
from faults.processes import wait_until
from faults.progress import end_in_order
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.world import World

PRIORITIES = range(10)

ALLOWED = timedelta(milliseconds=50)
"""From the commit of a job to the last start of one that is less urgent, before its own."""

AT_ONCE = 5
"""Jobs that arrive in one transaction."""

NOISE = timedelta(milliseconds=50)
"""Of two jobs that were handed out in order, the later one may be claimed so much earlier when the
machine is busy. Shorter violations are counted, and decide nothing."""

MANY, LATE = 0.01, timedelta(seconds=1)
"""The share of longer violations, and the length of one, that no busy machine explains."""


@dataclass(frozen=True, slots=True)
class Run:
    """One job's: all by the database's clock."""

    priority: int
    committed: datetime
    """Or a little later."""
    started: datetime


@scenario(5.5, "priority", limit=180.0)
def keep_order(world: World, scale: Scale, rng: Random) -> Figures:
    """Jobs of all priorities arrive during a drain, by one service and by two: what is more urgent
    and has been there for 50 ms begins first. (On SQLite by one: of two, which one is the next
    writer is SQLite's choice.)"""
    figures: Figures = {}
    for services in (1,) if world.database == "sqlite" else (1, 2):
        world.empty()
        kind = f"{services} services" if services > 1 else "1 service"
        runs = _serve(world, rng, services, scale.count(1_000, 20_000))
        late = overtakings(runs)
        worst = max(late, default=timedelta())
        gross = sum(one > NOISE for one in late)
        if gross > MANY * len(runs) or worst > LATE:
            raise Violation(
                f"{services} services: {len(late)} of {len(runs)} began too early, {worst}"
            )
        kind = f"{services} services" if services > 1 else "1 service"
        figures[f"{kind}: violations of {len(runs)}"] = len(late)
        figures[f"{kind}: worst ms"] = round(worst.total_seconds() * 1000, 1)
    return figures


def _serve(world: World, rng: Random, services: int, arrivals: int) -> list[Run]:
    """Half as many jobs are there at first, and these arrive while they are worked off."""
    committed = dict.fromkeys(_arrive(world, rng, arrivals // 2), clock.now("default"))
    with ExitStack() as stack:
        running = [
            stack.enter_context(world.service(workers=4 // services, name=f"service-{number}"))
            for number in range(services)
        ]
        wait_until(Job.objects.executed().exists, "the first job")
        for _ in range(arrivals // AT_ONCE):
            ids = _arrive(world, rng, AT_ONCE)
            committed |= dict.fromkeys(ids, clock.now("default"))
            time.sleep(0.002)
        end_in_order(running, within=world.patience)
    rows = Job.objects.executed().values_list("pk", "priority", "started")
    return [Run(priority, committed[job], started) for job, priority, started in rows if started]


def _arrive(world: World, rng: Random, number: int) -> list[int]:
    """So many jobs, each of some priority."""
    chosen = [rng.choice(PRIORITIES) for _ in range(number)]
    return [
        job
        for priority in PRIORITIES
        if (alike := chosen.count(priority))
        for job in world.schedule(jobs.enter, [[one] for one in range(alike)], priority=priority)
    ]


def overtakings(runs: Sequence[Run]) -> list[timedelta]:
    """For each job that began although a more urgent one had been there for longer than allowed:
    how much earlier it began than the last of those."""
    arrivals = {
        priority: sorted(
            (run for run in runs if run.priority == priority), key=lambda run: run.committed
        )
        for priority in PRIORITIES
    }
    moments = {name: [run.committed for run in some] for name, some in arrivals.items()}
    latest = {
        name: list(accumulate((run.started for run in some), max))
        for name, some in arrivals.items()
    }
    found = []
    for run in runs:
        before = [
            latest[priority][number - 1]
            for priority in PRIORITIES[run.priority + 1 :]
            if (number := bisect_left(moments[priority], run.started - ALLOWED))
        ]
        if before and max(before) > run.started:
            found.append(max(before) - run.started)
    return found
