"""Services that are stopped, and that take over from each other."""

from __future__ import annotations

import json
import signal
import time
from contextlib import ExitStack
from random import Random

from django_async.models import Error, Job
from faults import ledger, work
from faults.processes import Flush
from faults.progress import at_work, end_in_order, flow_until, wait_for_starts
from faults.scale import Figures, Scale, Violation, spread
from faults.scenario import scenario
from faults.world import World

GRACE = 1.0
"""Seconds that running jobs have after the signal."""

WORKERS = 4


@scenario(5.3, "service-stop")
def stop_service(world: World, scale: Scale, rng: Random) -> Figures:
    """SIGTERM comes while long jobs run: after the grace they are rolled back and as they were, and
    the next service runs them."""
    stops = []
    for number in range(scale.count(2, 60)):
        gate = world.folder / f"stopped-{number}"
        known = len(ledger.starts())
        with world.service(FAULTS_ASYNC=json.dumps({"STOP_GRACE": GRACE})) as service:
            long = world.schedule(work.outlast, [[0, str(gate)]] * WORKERS, priority=9)
            wait_for_starts(service, 1 if world.database == "sqlite" else WORKERS)
            begun = {start.job for start in ledger.starts()[known:]}
            stops.append(_stop(service))
        _must_be_as_before(long, begun)
        gate.touch()
        with world.service() as service:
            end_in_order([service])
    scale.judge("the end after the grace, s", max(stops) - GRACE, goal=1, bound=10)
    return spread("stopped", stops)


def _stop(service: Flush) -> float:
    """Seconds from the signal to the end, which is in order."""
    service.signal(signal.SIGTERM)
    began = time.monotonic()
    service.end(0)
    return time.monotonic() - began


def _must_be_as_before(ids: list[int], begun: set[int]) -> None:
    """No attempt was counted, and those that were cut short have an error that says so."""
    untouched = Job.objects.due().filter(pk__in=ids, attempts=0, priority=9)
    if untouched.count() != len(ids):
        raise Violation(f"only {untouched.count()} of {len(ids)} jobs are as before")
    errors = list(Error.objects.filter(job__in=ids).values_list("job", "exception"))
    told = {job for job, exception in errors if exception.startswith("Stopped(")}
    if told != begun or len(errors) != len(begun):
        raise Violation(f"{sorted(begun)} were cut short; the errors are {errors}")


@scenario(5.4, "handover")
def hand_over(world: World, scale: Scale, rng: Random) -> Figures:
    """Services take over from each other in a flow of jobs, and begin anew at SIGHUP: no attempt
    fails, and the queue stands still at no time."""
    gaps = []
    with ExitStack() as stack:
        service = stack.enter_context(world.service(name="service-0"))
        flow_until(world, at_work, "the first service works")
        for number in range(1, scale.count(3, 100) + 1):
            name = f"service-{number}"
            following = stack.enter_context(world.service(name=name))
            _flow_until_at_work(world, name, 0.0)
            time.sleep(rng.uniform(0.0, 0.05))
            service.signal(signal.SIGTERM)
            flow_until(world, lambda: service.ended, "the first one's end")  # noqa: B023
            service.end(0)
            service = following
            gaps.append(_begin_anew(world, service, name))
        end_in_order([service])
    if error := Error.objects.first():
        raise Violation(f"job {error.job_id} failed: {error.exception}")
    if again := Job.objects.exclude(attempts=1).count():
        raise Violation(f"{again} jobs were not executed at their first attempt")
    scale.judge("at work after SIGHUP, s", max(gaps), goal=3, bound=20)
    return {"jobs": Job.objects.count(), **spread("at work after SIGHUP", gaps)}


def _begin_anew(world: World, service: Flush, name: str) -> float:
    """At SIGHUP the service becomes another one in the same process; seconds until its first job.
    Nobody else is there."""
    before = set(service.workers)
    service.signal(signal.SIGHUP)
    began = time.monotonic()
    flow_until(world, lambda: before.isdisjoint(service.workers), "the end of the workers")
    again = time.monotonic()
    _flow_until_at_work(world, name, again)
    if service.ended:
        raise Violation(f"the service has ended at SIGHUP:\n{service.tail}")
    return next(one.at for one in ledger.starts() if one.at > again) - began


def _flow_until_at_work(world: World, name: str, since: float) -> None:
    flow_until(world, lambda: name in at_work(since), f"{name} works")
