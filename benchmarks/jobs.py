"""The workloads, the same for every system.

W1 inserts a row, W2 does nothing, W3 computes for 20 ms, W4 waits for 50 ms, W5 is W1 with an
argument of 10 kB. Three more serve the driver: ``warm`` opens each worker's connection, ``probe``
says when it ran, and ``fork`` inserts a row in a process that runs nothing else, uncounted.
"""

# Python 3.6 runs this file as well, for a peer that needs it: no newer syntax.

import time
from collections.abc import Callable

import django
from django.apps import apps
from django.db import transaction

if not apps.models_ready:
    django.setup()

from benchmarks import tally
from benchmarks.models import Line

CPU_SECONDS = 0.020
WAIT_SECONDS = 0.050
WARM_SECONDS = 0.020
ARGUMENTS = {"W5": "x" * 10_000}
"""By workload; other jobs have an empty one."""
WRITES = ("W1", "W5", "warm")
UNCOUNTED = "fork"


def run(workload: str, argument: str = "") -> None:
    """A job of a queue that gives it no transaction."""
    if workload == UNCOUNTED:
        WORK[workload](argument)
        return
    tally.began()
    if workload in WRITES:
        with transaction.atomic():
            WORK[workload](argument)
    else:
        WORK[workload](argument)
    tally.ended()


def run_inside(workload: str, argument: str = "") -> None:
    """A job that is in a transaction already."""
    if workload == UNCOUNTED:
        WORK[workload](argument)
        return
    tally.began()
    WORK[workload](argument)
    tally.ended()


def _insert(_: str) -> None:
    Line.objects.create(at=time.monotonic())


def _nothing(_: str) -> None:
    pass


def _compute(_: str) -> None:
    end = time.process_time() + CPU_SECONDS
    while time.process_time() < end:
        pass


def _wait(_: str) -> None:
    time.sleep(WAIT_SECONDS)


def _warm(_: str) -> None:
    Line.objects.create(at=time.monotonic())
    time.sleep(WARM_SECONDS)


def _probe(argument: str) -> None:
    now = time.monotonic()
    tally.stamp(int(argument), now)


WORK: "dict[str, Callable[[str], None]]" = {
    "W1": _insert,
    "W2": _nothing,
    "W3": _compute,
    "W4": _wait,
    "W4 in a transaction": _wait,
    "W5": _insert,
    "warm": _warm,
    "probe": _probe,
    "fork": _insert,
}
