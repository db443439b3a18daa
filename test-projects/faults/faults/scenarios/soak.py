"""Everything at once, for long: nothing may grow."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from statistics import median

from django.db import transaction

from django_async import schedule
from django_async.api import schedule_many
from django_async.models import Error, Group, Job
from faults import jobs
from faults.processes import Flush, descriptors, kill, resident
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.world import World

KIB = 1024

PACE = 0.1
"""Seconds between two samples."""

KILL_EACH = 10
"""Samples between two kills."""

CHUNK = 10_000
"""Jobs that are scheduled at once."""

AGE = 2.0
"""Seconds that a worker must have lived to be measured."""

LIMIT = {"timeout": 0.2}
"""Seconds that a job may take."""

LIMITS = {
    "parent grew KiB": 1024.0,
    "parent grew descriptors": 0.5,
    "workers grew KiB": 1024.0,
    "workers grew descriptors": 0.5,
}
"""Growth that is taken for level, from the middle third of a pass to its last."""


@dataclass
class Life:
    """The samples of one process."""

    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def sample(self, pid: int) -> None:
        self.memory.append(resident(pid))
        self.files.append(descriptors(pid))

    def grown_files(self) -> float:
        """By how many descriptors its last third exceeds its middle one."""
        return _growth(self.files)

    def grown_memory(self) -> float:
        """By how many bytes its last third exceeds its middle one."""
        return _growth(self.memory)


def _growth(samples: Sequence[int]) -> float:
    third = len(samples) // 3
    return median(samples[-third:]) - median(samples[third : 2 * third])


@scenario(17, "soak", limit=180)
def soak(world: World, scale: Scale, rng: Random) -> Figures:
    """Jobs that work, fail, die, take too long, have children and form groups, and workers that
    are killed: memory and descriptors of the parent and of the workers stay level."""
    total = scale.count(600, 150_000)
    _fill(world, total, rng)
    with world.flush() as flush:
        parent, workers = _watch(flush, rng)
        flush.end(0, 1)
    world.drain()
    _expect_timeouts()
    old = [life for life in workers if len(life.files) * PACE > AGE]
    if not old:
        raise Violation("no worker has lived long enough to be measured")
    figures = _figures(parent, old)
    for what, value in figures.items():
        if limit := LIMITS.get(what):
            scale.judge(what, float(value), goal=limit, bound=limit)
    return {"jobs": Job.objects.count(), "errors": Error.objects.count(), **figures}


def _fill(world: World, total: int, rng: Random) -> None:
    """Mix jobs of all kinds."""
    longest = 0.004 if world.database == "sqlite" else 0.04
    kinds = rng.choices(("sleep", "fail", "have_children"), (90, 5, 5), k=total)
    for first in range(0, total, CHUNK):
        schedule_many(
            {
                "function": getattr(jobs, kind),
                "args": [number, *_more(kind, rng.uniform(0, longest))],
                "priority": rng.randrange(5),
            }
            for number, kind in enumerate(kinds[first : first + CHUNK])
        )
    for number in range(max(5, total // 300)):
        schedule(jobs.die, [number], priority=rng.randrange(5))
        schedule(jobs.dawdle, [number], priority=rng.randrange(5), meta=LIMIT)
        _form_group(number)


def _more(kind: str, seconds: float) -> list[float]:
    """The arguments of a job after the first one."""
    more: dict[str, list[float]] = {"sleep": [round(seconds, 4)], "have_children": [2]}
    return more.get(kind, [])


def _form_group(number: int) -> None:
    with transaction.atomic():
        group = Group.objects.create(reference=f"group {number}")
        for member in range(5):
            schedule(jobs.enter, [member], group=group)
        group.on_completion(schedule(jobs.enter, [number], group=group))


def _watch(flush: Flush, rng: Random) -> tuple[Life, list[Life]]:
    """Sample all processes of the pass while it lasts, and kill a young worker now and then."""
    parent, workers = Life(), defaultdict[int, Life](Life)
    while not flush.ended:
        time.sleep(PACE)
        with suppress(OSError):  # it has just ended
            parent.sample(flush.pid)
        for pid in flush.workers:
            with suppress(OSError):
                workers[pid].sample(pid)
        if len(parent.files) % KILL_EACH == 0 and (victims := flush.workers[2:]):
            kill(rng.choice(victims))
    return parent, list(workers.values())


def _expect_timeouts() -> None:
    """Each job that takes too long the first time has an error: if it was not killed before."""
    dawdlers = Job.objects.filter(name__endswith="dawdle")
    unnoticed = dawdlers.filter(errors=None).count()
    if unnoticed:
        raise Violation(f"{unnoticed} of {dawdlers.count()} jobs took too long, and nobody noticed")


def _figures(parent: Life, workers: Sequence[Life]) -> Figures:
    return {
        "workers measured": len(workers),
        "parent MiB": round(max(parent.memory) / KIB**2, 1),
        "parent grew KiB": round(parent.grown_memory() / KIB),
        "parent grew descriptors": parent.grown_files(),
        "workers grew KiB": round(median(life.grown_memory() for life in workers) / KIB),
        "workers grew descriptors": median(life.grown_files() for life in workers),
    }
