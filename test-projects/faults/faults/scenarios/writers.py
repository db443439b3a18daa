"""Somebody else who writes while jobs drain."""

from __future__ import annotations

import time
from random import Random

from django.db import OperationalError

from django_async.models import Job
from faults import jobs
from faults.scale import Figures, Scale, Violation, spread
from faults.scenario import scenario
from faults.world import World
from suite.models import Note

PAUSE = 0.05
"""Seconds between two writes."""


@scenario(18, "writers", ("sqlite",))
def write_beside(world: World, scale: Scale, rng: Random) -> Figures:
    """A writer beside 8 workers gets its turn: SQLite has one at a time."""
    world.schedule(jobs.enter, [[number] for number in range(scale.count(3_000, 20_000))])
    seconds: list[float] = []
    with world.flush(workers=8) as flush:
        while not flush.ended:
            seconds.append(_write())
            time.sleep(PAUSE)
        flush.end(0)
    locked = Job.objects.filter(errors__exception__contains="locked").count()
    if locked:
        raise Violation(f"{locked} jobs met a locked database")
    figures = spread("a write beside the jobs", seconds)
    late = float(figures["a write beside the jobs p99 ms"])
    scale.judge("a write beside the jobs, p99 ms", late, goal=500, bound=5000)
    return {"writes": len(seconds), **figures}


def _write() -> float:
    """Write a row as a request would, and tell how long that took."""
    began = time.monotonic()
    try:
        Note.objects.create(text="beside")
    except OperationalError as error:
        waited = time.monotonic() - began
        raise Violation(f"a writer gave up after {waited:.1f} s: {error}") from error
    return time.monotonic() - began
