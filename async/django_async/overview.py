"""The state of the queue at a glance: what a page shows that is asked for every few seconds.

None of it counts without a bound: each number ends at COUNTED. Beyond, what is pending is "more
than" that, and of what has ended the database's own estimate is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from django_async import backlog, census, clock, performance, roster
from django_async.errors import NoticesUnavailable
from django_async.ledger import Sum
from django_async.models import Job, Parent, Pause
from django_async.slots import FUNCTION

COUNTED = 10_000
"""Rows of one kind that are counted one by one."""

SAMPLE = 1000
"""Due jobs by which the time to empty is estimated."""


@dataclass(frozen=True, slots=True)
class Number:
    """How many there are."""

    value: int
    is_more: bool = False
    """Whether there are more than that."""
    is_about: bool = False
    """Whether the database only believes so."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How many jobs there are of each kind."""

    due: Number
    scheduled: Number
    failing: Number
    executed: Number
    discarded: Number
    cancelled: Number


@dataclass(frozen=True, slots=True)
class Run:
    """A job that runs."""

    entry: roster.Entry
    name: str
    queue: str
    is_atomic: bool
    """Whether it runs in a transaction, and so still seems to be due."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Host:
    """A parent, with the processes in which its jobs run."""

    parent: Parent
    is_alive: bool
    busy: list[Run]
    seen: datetime
    """When it gave its last sign of life, as far as anybody knows."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """When nothing is due any more, if nothing else comes."""

    seconds: float
    workers: int
    run_time: float
    """Seconds that one of the due jobs takes, on average."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long attempts took."""

    recent: dict[str, Sum]
    """Those of the last hour, by function."""
    usual: float | None
    """Seconds that an attempt of any function took in the last day."""
    now: datetime
    using: str

    def of(self, names: Iterable[str]) -> dict[str, float | None]:
        """Seconds that an attempt of each function takes: as in the last hour, else as in the last
        day, else as usual."""
        unknown = [name for name in names if name not in self.recent]
        since = performance.DAY.begins(self.now)[0]
        earlier = performance.by_label(FUNCTION, since, self.using, unknown) if unknown else {}
        known = {**earlier, **self.recent}
        return {name: known[name].mean if name in known else self.usual for name in names}


def standing(using: str, running: list[Run]) -> Standing:
    """Count the jobs. Those that run in a transaction seem to be due, and are taken off."""
    found, waiting = census.take(using, COUNTED), backlog.read(using, COUNTED)
    alive = [run for run in running if run.entry.is_alive]
    atomic = sum(run.is_atomic for run in alive)
    if found.pending > COUNTED:
        due = Number(waiting.due, is_more=waiting.due >= COUNTED)
        future = backlog.count_waiting(COUNTED, using)
        scheduled = Number(future, is_more=future >= COUNTED)
        failing = Number(waiting.failing, is_more=True)
    else:
        due = Number(max(0, waiting.due - atomic))
        others = waiting.due + len(alive) - atomic
        scheduled = Number(max(0, found.pending - others))
        failing = Number(waiting.failing)
    ended = map(_number, (found.executed, found.discarded, found.cancelled))
    return Standing(due, scheduled, failing, *ended)


def runs(using: str) -> list[Run] | None:
    """What runs now, the oldest first; None if the file beside an SQLite database is unreadable."""
    try:
        entries = roster.entries(using)
    except NoticesUnavailable:
        return None
    now = clock.now(using)
    ids = [entry.run.job_id for entry in entries]
    jobs = Job.objects.using(using).filter(pk__in=ids).values_list("pk", "name", "queue", "started")
    known = {pk: (name, queue, started is None) for pk, name, queue, started in jobs}
    return [
        Run(entry, *known[entry.run.job_id], (now - entry.run.since).total_seconds())
        for entry in entries
        if entry.run.job_id in known
    ]


def hosts(using: str, running: list[Run]) -> list[Host]:
    """The parents by host. A parent that lives holds a lock, so that its last sign is now."""
    now = clock.now(using)
    found = []
    for parent, is_alive in roster.parents(using):
        busy = [run for run in running if run.entry.run.parent_id == parent.token]
        signs = [parent.began, *(run.entry.run.since for run in busy)]
        found.append(Host(parent, is_alive, busy, now if is_alive else max(signs)))
    return sorted(found, key=lambda host: (host.parent.host, host.parent.pk))


def pauses(using: str) -> list[Pause]:
    """The queues that are paused; an empty name is every queue."""
    return list(Pause.objects.using(using).order_by("queue", "since"))


def estimate(using: str, due: int, workers: int, times: Times) -> Estimate | None:
    """From how long the jobs of each function took of late, and how many workers there are.

    None without a worker, or if nobody knows how long the jobs take. Better than
    estimate_queue_completion(), which takes one job to run at a time.
    """
    calls = Counter(backlog.sample(SAMPLE, using))
    known = times.of(calls)
    if not workers or not calls or None in known.values():
        return None
    side_by_side = 1 if connections[using].vendor == "sqlite" else workers
    run_time = sum(number * (known[name] or 0.0) for name, number in calls.items()) / calls.total()
    return Estimate(due * run_time / max(1, min(side_by_side, due)), workers, run_time)


def _number(value: int) -> Number:
    return Number(value, is_about=value > COUNTED)
