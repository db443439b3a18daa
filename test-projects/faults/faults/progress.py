"""How a drain goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection
from typing import Any

from django_async.models import Job
from faults import jobs, ledger
from faults.processes import DEADLINE, Flush, wait_until
from faults.scale import Violation
from faults.world import World

AT_HAND = 40
"""Short jobs that are due at any time while jobs flow."""


def wait_for_starts(flush: Flush, more: int) -> float:
    """Wait until so many more attempts have begun; the seconds that it took. A flush that ends
    before has given up."""
    known = len(ledger.starts())
    took = wait_until(
        lambda: len(ledger.starts()) >= known + more or flush.ended, f"{more} more starts"
    )
    if len(ledger.starts()) < known + more:
        raise Violation(f"flush_queue ended in the middle of its pass:\n{flush.tail}")
    return took


def must_have_gone_on(flush: Flush) -> None:
    """What happens to single jobs and sessions is no reason to end a pass while jobs are due."""
    if due := Job.objects.due().count():
        raise Violation(f"the pass ended with {due} jobs due:\n{flush.tail}")


def flow_until(world: World, happened: Callable[[], Any], what: str) -> None:
    """Wait for something while short jobs keep coming."""
    deadline = time.monotonic() + DEADLINE
    while not happened():
        if time.monotonic() > deadline:
            raise Violation(f"{what}: not within {DEADLINE:g} s")
        if Job.objects.due().count() < AT_HAND:
            world.schedule(jobs.pause, [[number] for number in range(AT_HAND)])
        time.sleep(0.02)


def end_in_order(services: Collection[Flush], *, within: float = DEADLINE) -> None:
    """The services do all that is due, and stop when they are asked to."""
    deadline = time.monotonic() + within
    while due := Job.objects.due().count():
        if time.monotonic() > deadline:
            tails = "\n".join(service.tail for service in services)
            raise Violation(f"{due} jobs are still due after {within:g} s:\n{tails}")
        time.sleep(0.05)
    for service in services:
        service.signal(signal.SIGTERM)
    for service in services:
        service.end(0)


def at_work(since: float = 0.0) -> set[str]:
    """The services that have begun a job since."""
    return {start.service for start in ledger.starts() if start.at > since}
