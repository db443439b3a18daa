"""Jobs that harm their process, beside jobs that do not."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from django.db import connection

from faults import jobs, poisons
from faults.scale import Figures, Scale
from faults.scenario import scenario
from faults.verdict import EXECUTED, must_be_untouched, must_have_ended
from faults.world import World

LIMIT = 0.5
"""Seconds that a job gets that would never end."""

ENDS = {
    "segfault": r"^WorkerDied\(.* was killed by SIGSEGV",
    "os._exit(0)": r"^WorkerDied\(.* exited with code 0 ",
    "os._exit(1)": r"^WorkerDied\(.* exited with code 1 ",
    "sys.exit": r"^SystemExit\(3\)",
    "BaseException": r"^NoError\('neither'\)",
    "loop": rf"^TaskTimeout\(.*{LIMIT}",
    "loop in C": r"^TimeLimitExceeded\(",
    "memory bomb": r"^MemoryError\(",
    "100 MB result": EXECUTED,
    "deep result": r"^RecursionError\(",
    "object as result": r"^TypeError\(",
    "NaN as result": r"^ValueError\(",
    "recursion": r"^RecursionError\(",
    # Whichever it is that the database's driver and Django notice first.
    "closed descriptors": r"^(ConnectionClosed|TransactionEnded|OperationalError|WorkerDied)\(",
    "changed directory": EXECUTED,
    "reset signals": EXECUTED,
    "threads": EXECUTED,
    "child": EXECUTED,
    "multiprocessing.Pool": EXECUTED,
}
"""How each ends: it is executed, or its error matches this."""

if connection.vendor == "mysql":
    ENDS["100 MB result"] = r"^(OperationalError|DataError)\("  # more than a packet may hold

LONGEST = 40.0
"""Seconds after which a drain hangs."""

BESIDE = 5
"""Innocent jobs for each poison."""


@scenario(11, "poisons", limit=180.0)
def poison(world: World, scale: Scale, rng: Random) -> Figures:
    """Jobs crash, exit, loop, hoard, and leave processes behind; no other job notices."""
    rounds = scale.count(1, 20)
    for _ in range(rounds):
        _drain(world, rng.sample(list(ENDS), len(ENDS)), code=1)
        # By itself, so that its worker ends in good order: a death would take the child along.
        _drain(world, ["child"], code=0)
        # In one worker: without its socket it cannot go on, though the thread would keep it from
        # ending, and the child the socket from being closed.
        _drain(world, ["child", "threads", "closed descriptors"], code=1, workers=1)
    return {"poisons": rounds * (len(ENDS) + 4), "beside each": BESIDE}


def _drain(world: World, names: list[str], *, code: int, workers: int = 4) -> None:
    """Run these poisons beside innocent jobs, and see how each of them ends."""
    innocent, poisoned = _schedule(world, names)
    grace = json.dumps({"TIMEOUT_GRACE": LIMIT})
    options = "--memory-limit", "2G"
    with world.flush(*options, workers=workers, FAULTS_ASYNC=grace) as flush:
        flush.end(code, within=LONGEST)
    must_be_untouched(innocent)
    for name, job in poisoned.items():
        must_have_ended(name, job, ENDS[name])
    world.check()


def _schedule(world: World, names: list[str]) -> tuple[list[int], dict[str, int]]:
    """Poisons in this order, with innocent jobs before each; the ids of these and of those."""
    innocent, poisoned = [], {}
    for name in names:
        innocent += world.schedule(jobs.enter, [[number] for number in range(BESIDE)])
        meta: dict[str, Any] = {"max_attempts": 1}
        if "loop" in name:
            meta["timeout"] = LIMIT
        [poisoned[name]] = world.schedule(poisons.take, [[name]], meta=meta)
    return innocent, poisoned
