"""The network between the queue and its database, which is the suite's own proxy."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from random import Random
from unittest.mock import patch

from django.db import connection

from django_async.models import Error, Job
from faults import jobs, ledger
from faults.elsewhere import way_to
from faults.processes import Flush
from faults.progress import wait_for_starts
from faults.proxy import Proxy, proxy_to
from faults.scale import Figures, Scale, Violation
from faults.scenario import SERVERS, scenario
from faults.world import World

SLOW = 1.0
"""Seconds that a COMMIT whose client is gone needs to the server."""

GRACE = 2.0
"""Seconds that a stopping flush_queue gives to what it cannot finish."""


@contextmanager
def network() -> Iterator[Proxy]:
    """Within the block, there is a proxy, and each process that is started goes through it."""
    with ExitStack() as stack:
        port = int(connection.settings_dict["PORT"])
        proxy = stack.enter_context(proxy_to(connection.vendor, port))
        way = way_to(HOST="127.0.0.1", PORT=str(proxy.port))
        stack.enter_context(patch.dict(os.environ, way))
        yield proxy


@scenario(9, "commit-unanswered", SERVERS)
def cut_commits(world: World, scale: Scale, rng: Random) -> Figures:
    """COMMITs are sent and not answered; some reach the server when their clients are long gone."""
    cut = 0
    with network() as proxy:
        for delay in (0.0, SLOW):
            for _ in range(scale.count(1, 30)):
                chosen = set(rng.sample(range(1, 150), scale.count(20, 60)))
                world.schedule(jobs.enter, [[number] for number in range(300)])
                cut += _drain_with_cuts(world, proxy, chosen, delay)
        longest = _longest_wait(world, proxy)
    scale.judge("the longest time without a start, s", longest, goal=SLOW / 2, bound=SLOW * 0.9)
    return {"commits cut off": cut, "longest time without a start s": round(longest, 2)}


def _drain_with_cuts(world: World, proxy: Proxy, chosen: set[int], delay: float) -> int:
    """Drain the queue, and cut off the chosen of all COMMITs from the first job on; how many."""
    with world.flush() as flush:
        wait_for_starts(flush, 1)
        proxy.cut_commits(chosen.__contains__, delay=delay)
        flush.end(0, 1)
    cut = proxy.cut
    proxy.cut_commits(lambda _number: False)
    if not cut:
        raise Violation("no COMMIT was cut off: the proxy does not see them")
    _must_be_resolved(flush)
    return cut


def _must_be_resolved(flush: Flush) -> None:
    """What was sent has been committed: every job is executed, and none of them says it failed."""
    wrong = Error.objects.filter(job__executed__isnull=False)
    if wrong.exists():
        error = wrong[0]
        raise Violation(f"executed job {error.job_id} has an error: {error.exception}")
    if pending := Job.objects.pending().count():
        raise Violation(f"{pending} jobs are pending, though no attempt failed:\n{flush.tail}")


def _longest_wait(world: World, proxy: Proxy) -> float:
    """The longest time between two starts while slow COMMITs hold their rows: a parent that waited
    for such a row would hand out nothing."""
    known = len(ledger.starts())
    world.schedule(jobs.sleep, [[number, 0.02] for number in range(400)])
    _drain_with_cuts(world, proxy, {20, 60, 100}, SLOW)
    moments = [start.at for start in ledger.starts()[known:]]
    return max(after - before for before, after in pairwise(moments))


@scenario(10, "network-silent", SERVERS)
def fall_silent(world: World, scale: Scale, rng: Random) -> Figures:
    """The network falls silent: what was stopped ends all the same, and what waits goes on."""
    ends = []
    with network() as proxy:
        for _ in range(scale.count(1, 20)):
            ends.append(_stop_in_silence(world, proxy, rng))
        _outwait_silence(world, proxy)
    scale.judge("the end after the second SIGTERM, s", max(ends), goal=GRACE + 1, bound=GRACE + 1)
    return {"stopped within s": round(max(ends), 2)}


def _begin(flush: Flush, proxy: Proxy, rng: Random) -> None:
    """Let the drain run for a moment, and the network fall silent."""
    wait_for_starts(flush, 10)
    time.sleep(rng.uniform(0.0, 0.1))
    proxy.silence()
    time.sleep(0.3)


def _stop_in_silence(world: World, proxy: Proxy, rng: Random) -> float:
    """Stop a flush_queue that hears nothing; seconds from the second signal to its end."""
    world.schedule(jobs.sleep, [[number, 0.01] for number in range(150)])
    with world.flush(FAULTS_ASYNC=json.dumps({"TIMEOUT_GRACE": GRACE})) as flush:
        _begin(flush, proxy, rng)
        flush.signal(signal.SIGTERM)
        time.sleep(0.3)
        flush.signal(signal.SIGTERM)
        began = time.monotonic()
        try:
            flush.end(128 + signal.SIGTERM, within=10 * GRACE)
            return time.monotonic() - began
        finally:
            proxy.resume()


def _outwait_silence(world: World, proxy: Proxy) -> None:
    """Nothing is stopped: when the network comes back, the same processes go on to the end."""
    world.schedule(jobs.sleep, [[number, 0.01] for number in range(150)])
    with world.flush() as flush:
        _begin(flush, proxy, Random(0))
        workers = flush.workers
        proxy.resume()
        flush.end(0, 1)
    world.drain()
    if not workers:
        raise Violation("no worker outlived the silence")
