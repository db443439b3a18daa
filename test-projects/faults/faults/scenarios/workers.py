"""The death of workers."""

from __future__ import annotations

import time
from collections.abc import Container
from random import Random

from django_async.models import Error, Job
from faults import jobs, ledger, probes
from faults.ledger import Start
from faults.processes import Flush, has_group, is_alive, kill, wait_for, wait_until
from faults.scale import Figures, Scale, percentile, spread
from faults.scenario import scenario
from faults.world import World

PACE = 0.02
"""Seconds between two kills."""


@scenario(1, "workers-killed", limit=240)
def kill_workers(world: World, scale: Scale, rng: Random) -> Figures:
    """A random worker is killed every 20 ms during a drain."""
    wanted = scale.count(100, 10_000)
    total = scale.count(600, 100_000)
    longest = 0.005 if world.database == "sqlite" else 0.02
    world.schedule(jobs.sleep, [[number, rng.uniform(0, longest)] for number in range(total)])
    kills = parents = 0
    while kills < wanted and Job.objects.due().exists():
        with world.flush(name=f"flush-{parents}") as flush:
            parents += 1
            kills += _kill_at_random(flush, wanted - kills, rng)
            flush.end(0, 1, within=world.patience)
    world.drain()
    cut = Error.objects.count()
    return {"jobs": total, "kills": kills, "jobs cut short": cut, "parents": parents}


def _kill_at_random(flush: Flush, wanted: int, rng: Random) -> int:
    """Kill workers until there were so many, or the pass is over; how many there were."""
    kills = 0
    while kills < wanted and not flush.ended:
        time.sleep(PACE)
        busy = [start.pid for start in ledger.latest(4) if is_alive(start.pid)]
        # At this pace most workers would die before their first job: so three of four have begun.
        if victims := flush.workers if rng.random() < 0.25 else busy:
            kill(rng.choice(victims))
            kills += 1
    return kills


@scenario(1.1, "row-freed")
def free_rows(world: World, scale: Scale, rng: Random) -> Figures:
    """The row of a job whose worker was killed can be locked again at once: of one that slept
    between two statements, of one inside a long statement, and with a process left behind."""
    figures: Figures = {}
    for inside, leaves in ((False, False), (False, True), (True, False), (True, True)):
        what = f"{'inside' if inside else 'between'}{', process left' if leaves else ''}"
        seconds = _measure(world, scale.count(6, 500), inside=inside, leaves=leaves)
        figures |= spread(what, seconds)
        late = percentile(seconds, 99) * 1000
        scale.judge(f"{what}: the row's lock, ms", late, goal=250 if inside else 50, bound=3000)
    return figures


def _measure(world: World, times: int, *, inside: bool, leaves: bool) -> list[float]:
    """Kill so many workers, each in another attempt; seconds until each job's row was free."""
    world.empty()
    world.schedule(jobs.stay, [[number, inside, leaves] for number in range(times * 5 + 8)])
    killed: dict[Start, float] = {}
    with world.flush() as flush:
        while len(killed) < times:
            start = wait_for(lambda: _ripe(killed), "an attempt to be cut short")
            killed[start] = _kill_one(start)
        flush.kill_all()
        flush.end(-9)
    world.empty()
    return list(killed.values())


def _ripe(killed: Container[Start]) -> Start | None:
    """An attempt that has got to where it stays, and will be there for a while."""
    now = time.monotonic()
    fresh = (start for start in ledger.latest(16) if 0.1 < now - start.at < jobs.LONG / 2)
    return next((one for one in fresh if one not in killed and is_alive(one.pid)), None)


def _kill_one(start: Start) -> float:
    """Kill the worker in its attempt; seconds until the job's row could be locked."""
    [(attempts,)] = probes.ask(probes.READ, start.job)
    kill(start.pid)
    free = wait_until(lambda: probes.is_free(start.job, attempts), f"the row of job {start.job}")
    wait_until(lambda: not has_group(start.pid), "the end of what the job left behind")
    return free
