"""Jobs that run without a transaction."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from random import Random
from unittest.mock import patch

from django.db.models import Count, F

from django_async.models import Job
from faults import jobs, ledger, overlaps
from faults.models import Entry
from faults.processes import Flush, is_alive, kill
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.world import World

PACE = 0.03
"""Seconds between two kills."""


@scenario(1.2, "detached")
def kill_owners(world: World, scale: Scale, rng: Random) -> Figures:
    """Workers, and whole parents with them, are killed at random while two parents run jobs that
    hold no transaction: each is done at least once, and never twice at the same time."""
    total, wanted = scale.count(100, 10_000), scale.count(20, 3_000)
    arguments = [[number, rng.uniform(0.01, 0.06)] for number in range(total)]
    world.schedule(jobs.run_alone, arguments, meta={"atomic": False})
    kills = {"workers": 0, "parents": 0}
    with patch.dict(os.environ, FAULTS_ASYNC=json.dumps({"MAX_CRASHES": None})):
        while sum(kills.values()) < wanted and Job.objects.due().exists():
            _flush_and_kill(world, kills, wanted, rng)
        world.drain()
    _check(total)
    figures: Figures = {"jobs": total, "effects": Entry.objects.count()}
    figures |= {f"{who} killed": number for who, number in kills.items()}
    world.empty()  # whose effects are counted once by who comes next
    overlaps.forget()
    return figures


def _flush_and_kill(world: World, kills: dict[str, int], wanted: int, rng: Random) -> None:
    """Have two parents, and kill what they are, until there were enough, or they have ended."""
    with ExitStack() as stack:
        names = ("one", "other")
        flushes = [stack.enter_context(world.flush(workers=2, name=name)) for name in names]
        dead: set[Flush] = set()
        while sum(kills.values()) < wanted and not all(one.ended for one in flushes):
            time.sleep(PACE)
            busy = [one.pid for one in ledger.latest(4) if is_alive(one.pid)]
            running = [one for one in flushes if not one.ended]
            if busy and running and rng.random() < 0.1:
                victim = rng.choice(running)
                victim.kill_all()
                dead.add(victim)
                kills["parents"] += 1
            elif busy:
                kill(rng.choice(busy))
                kills["workers"] += 1
        for flush in flushes:
            flush.end(*((-9, 0, 1) if flush in dead else (0, 1)), within=world.patience)


def _check(total: int) -> None:
    """Every job is executed, and has an effect; each other attempt has left its one error."""
    if overlaps.found():
        raise Violation(f"ran twice at the same time: {overlaps.found()}")
    executed = Job.objects.executed()
    if (number := executed.count()) != total:
        raise Violation(f"{number} of {total} jobs were executed")
    done = set(Entry.objects.values_list("job", flat=True))
    if missing := set(executed.values_list("pk", flat=True)) - done:
        raise Violation(f"executed, and without effect: {sorted(missing)}")
    counted = executed.annotate(told=Count("errors")).exclude(attempts=F("told") + 1)
    if odd := list(counted.values_list("pk", "attempts", "told")):
        raise Violation(f"errors do not agree with attempts (job, attempts, errors): {odd}")
