"""The death of the parent."""

from __future__ import annotations

from random import Random

from django_async.models import Job
from faults import jobs, ledger
from faults.processes import is_alive, wait_until
from faults.scale import Figures, Scale, Violation, spread
from faults.scenario import scenario
from faults.world import World

RESTARTS = 10
"""Deaths of everybody after which a job that causes them must have been given up."""


@scenario(3, "parent-killed")
def kill_parent(world: World, scale: Scale, rng: Random) -> Figures:
    """The parent is killed in the middle of a drain; another one goes on at once."""
    orphaned, resumed = [], []
    for _ in range(scale.count(2, 100)):
        known = len(ledger.starts())
        world.schedule(jobs.sleep, [[number, 0.02] for number in range(60)])
        orphaned.append(_kill_one(world, known + rng.randrange(4, 20)))
        resumed.append(_resume(world))
    scale.judge("the last child's end, ms", max(orphaned) * 1000, goal=100, bound=2000)
    scale.judge("the first job, ms", max(resumed) * 1000, goal=1000, bound=10_000)
    return {**spread("children gone", orphaned), **spread("first job of the next", resumed)}


def _kill_one(world: World, after: int) -> float:
    """Kill the parent after so many starts; seconds until its workers are gone."""
    with world.flush() as flush:
        wait_until(lambda: len(ledger.starts()) >= after, "the drain")
        workers = flush.workers
        flush.kill()
        gone = wait_until(lambda: not any(map(is_alive, workers)), "the end of the children")
        flush.end(-9)
    return gone


def _resume(world: World) -> float:
    """Drain the rest; seconds from the start of the process to its first job's."""
    known = len(ledger.starts())
    with world.flush() as flush:
        flush.end(0)
    return ledger.starts()[known].at - flush.began


@scenario(4, "all-killed")
def kill_all(world: World, scale: Scale, rng: Random) -> Figures:
    """A job kills the parent, the other workers and itself, again and again: it alone is given up,
    and the others are executed."""
    restarts = 0
    for _ in range(scale.count(1, 20)):
        innocent = [[number] for number in range(200)]
        before = rng.randrange(len(innocent))
        world.schedule(jobs.enter, innocent[:before])
        [poison] = world.schedule(jobs.kill_everybody, [[0]])
        world.schedule(jobs.enter, innocent[before:])
        restarts += _restart_until_given_up(world, poison)
        world.drain()
    others = Job.objects.exclude(name__endswith="kill_everybody")
    if wronged := others.filter(executed=None).count():
        raise Violation(f"{wronged} innocent jobs were not executed")
    return {"poison": Job.objects.discarded().count(), "restarts until it is given up": restarts}


def _restart_until_given_up(world: World, poison: int) -> int:
    """Flush until the job is discarded; how often the parent had to be started again."""
    for restarts in range(RESTARTS):
        ledger.bring_forward()
        with world.flush() as flush:
            flush.end(0, 1, -9)
        if Job.objects.discarded().filter(pk=poison).exists():
            return restarts
    raise Violation(f"the job was not given up after {RESTARTS} deaths of everybody")
