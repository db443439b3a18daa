"""The death of the parent."""

from __future__ import annotations

from random import Random

from faults import jobs, ledger
from faults.processes import is_alive, wait_until
from faults.scale import Figures, Scale, spread
from faults.scenario import scenario
from faults.world import World


@scenario(3, "parent-killed")
def kill_parent(world: World, scale: Scale, rng: Random) -> Figures:
    """The parent is killed in the middle of a drain; another one goes on at once."""
    orphaned, resumed = [], []
    for _ in range(scale.count(3, 100)):
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
