"""How soon a job starts: from the return of the enqueue to its first line."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

from benchmarks import processes, tally
from benchmarks.systems import Adapter

PROBES = 100
SILENCE = 2.0
"""Seconds after which a service that polls looks as seldom as ever: its pauses have doubled from
POLL_MIN to POLL_MAX."""
DEADLINE = 30.0
"""Seconds after which a job that has not run is a failure of the benchmark."""
LOOK = 0.005
"""Seconds between looks whether a probe has run: the job itself writes down when. Who looks more
often takes a CPU from what is measured."""
SETTLED = 1.0
"""Seconds until a queue has noticed that it has nothing more to do."""


def measure(
    adapter: Adapter,
    group: processes.Group,
    drained: Callable[[], dict[str, float]],
    idle: float,
) -> dict[str, Any]:
    """Milliseconds while nothing else is there, and while W1 jobs come at half the rate at which
    they are run; that load; and the part of a CPU that the queue takes while it has nothing to do,
    over so many seconds."""
    alone, _ = delays(adapter, group, 0.0)
    share = _idle_share(group, idle)
    loaded, load = delays(adapter, group, drained()["rate"] / 2)
    return {"idle": alone, "share": share, "loaded": loaded, "load": load}


def after_silence(adapter: Adapter, group: processes.Group, probes: int) -> list[float]:
    """Milliseconds of probes of which each comes when there was nothing to do for long, at a random
    moment between two looks of a service that polls once a second."""
    tally.clear()
    found = []
    for number in range(probes):
        time.sleep(SILENCE + random.uniform(0.0, 1.0))
        found.append(_delay(adapter, number))
        group.check()
    return found


def delays(adapter: Adapter, group: processes.Group, load: float) -> tuple[list[float], float]:
    """Milliseconds of each probe, and how many other jobs a second were enqueued between them."""
    tally.clear()
    found, began, sent = [], time.monotonic(), 0
    for number in range(PROBES):
        pause = time.monotonic() + random.uniform(0.03, 0.07)  # in no step with the queue
        while (now := time.monotonic()) < pause:
            due = began + sent / load if load else inf
            if due <= now:
                adapter.enqueue("W1", "")
                sent += 1
            else:
                time.sleep(min(due, pause) - now)
        found.append(_delay(adapter, number))
        group.check()
    seconds = time.monotonic() - began
    processes.wait_for(lambda: not adapter.left(), DEADLINE)
    return found, sent / seconds


def _delay(adapter: Adapter, number: int) -> float:
    adapter.enqueue("probe", str(number))
    returned = time.monotonic()
    processes.wait_for(partial(tally.probe, number), DEADLINE, every=LOOK)
    return (tally.probe(number) - returned) * 1000


def _idle_share(group: processes.Group, seconds: float) -> float:
    time.sleep(SETTLED)
    before = processes.cpu_seconds(group.pids())
    time.sleep(seconds)
    return (processes.cpu_seconds(group.pids()) - before) / seconds
