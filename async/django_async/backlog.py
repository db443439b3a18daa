"""The jobs that are still to run: how many are due, since when, and how many have failed before.

No index has all that. Up to EXACT pending jobs, all of them are read, in one statement. Beyond,
the due ones are looked for where they are: in the index of the fetch all future jobs of a priority
lie between its due ones and its unscheduled ones, so each priority is two ranges to be read from
their beginning. A failure lowers the priority, so the failing ones are counted among the lowest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import connections
from django.db.models import Count, Min, Q, QuerySet

from django_async import census, clock
from django_async.clock import DatabaseNow
from django_async.models import Job

MOST_PRIORITIES = 100
"""How many priorities are looked at, from the highest, where there are too many jobs to be read."""

Range = tuple[QuerySet[Job], str]
"""Due jobs in the order of their index, and the column that says since when they are due."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What an operator asks first."""

    due: int
    failing: int
    oldest: datetime | None
    """Since when the job that waits longest is due: since its time, or since it was added."""


def read(using: str, exact: int | None = None) -> Backlog:
    """Read the backlog of a database, or what it takes to know enough of it: counts end at so many
    (EXACT)."""
    exact = census.EXACT if exact is None else exact
    waits = Q(started=None)  # and does not run without a transaction, perhaps for hours
    timed, untimed = waits & Q(scheduled__lte=DatabaseNow()), waits & Q(scheduled=None)
    lowest = census.pending_jobs(using).order_by("priority", "scheduled", "id")[: exact + 1]
    found = lowest.aggregate(
        read=Count("pk"),
        timed=Count("pk", filter=timed),
        untimed=Count("pk", filter=untimed),
        failing=Count("pk", filter=waits & Q(attempts__gt=0)),
        since=Min("scheduled", filter=timed),
        added=Min("added", filter=untimed),
    )
    if found["read"] > exact:
        return _walk(found["failing"], using, exact)
    oldest = _earliest(found["since"], found["added"])
    return Backlog(found["timed"] + found["untimed"], found["failing"], oldest)


def told(found: Backlog, using: str) -> tuple[float, float]:
    """As metrics tell it: how many are due, and the age of the oldest in seconds, 0 without one."""
    if found.oldest is None:
        return found.due, 0.0
    return found.due, max(0.0, (clock.now(using) - found.oldest).total_seconds())


def since_when(using: str, where: Q) -> datetime | None:
    """Since when the one of these due jobs is due that waits longest, told from the first of each
    range. The condition is for the ranges alone: with more than its index has, MariaDB reads all
    jobs for the next priority."""
    ranges = islice(_ranges(census.pending_jobs(using)), 2 * MOST_PRIORITIES)
    firsts = (due.filter(where).values_list(column, flat=True).first() for due, column in ranges)
    return _earliest(*firsts)


def oldest(using: str) -> tuple[Job, datetime] | None:
    """The job that is due the longest, and since when, told from the first of each range."""
    found: list[tuple[datetime, int, Job]] = []
    for due, column in islice(_ranges(census.pending_jobs(using)), 2 * MOST_PRIORITIES):
        if job := due.filter(started=None).first():
            found.append((getattr(job, column), job.pk, job))
    if not found:
        return None
    since, _, job = min(found)
    return job, since


def count_waiting(at_most: int, using: str) -> int:
    """How many jobs have their time to come, up to so many, counted where they are."""
    number = 0
    for future in islice(later(using), MOST_PRIORITIES):
        number += future.values("scheduled")[: at_most - number].count()
        if number >= at_most:
            break
    return number


def due(using: str) -> Iterator[QuerySet[Job]]:
    """The jobs whose time has come, in order, in ranges that are each read along the index: two for
    each priority. Those that run without a transaction are among them."""
    return (jobs for jobs, _ in _ranges(census.pending_jobs(using)))


def later(using: str) -> Iterator[QuerySet[Job]]:
    """The jobs whose time is to come, likewise, in one range for each priority."""
    for here in _priorities(census.pending_jobs(using)):
        yield here.filter(scheduled__gt=DatabaseNow()).order_by("scheduled", "id")


def sample(number: int, using: str) -> Iterator[str]:
    """The names of the first so many jobs that are due, about in their order."""
    for jobs in islice(due(using), 2 * MOST_PRIORITIES):
        names = list(jobs.values_list("name", flat=True)[:number])
        yield from names
        number -= len(names)
        if not number:
            return


def _walk(failing: int, using: str, exact: int) -> Backlog:
    """Count the due jobs range by range up to so many, and look at the oldest of each range."""
    due, oldest = 0, None
    for jobs, column in islice(_ranges(census.pending_jobs(using)), 2 * MOST_PRIORITIES):
        at_most = max(1, exact - due)
        found = jobs[:at_most].aggregate(number=Count("pk"), since=Min(column))
        due = min(exact, due + found["number"])
        oldest = _earliest(oldest, found["since"])
    return Backlog(due, failing, oldest)


def _ranges(jobs: QuerySet[Job]) -> Iterator[Range]:
    """Two for each priority, from the highest, each asked for when its turn comes."""
    by_time = ("scheduled", "id")
    unscheduled = ("id",) if connections[jobs.db].vendor == "mysql" else by_time  # see fetch.py
    for here in _priorities(jobs):
        yield here.filter(scheduled__lte=DatabaseNow()).order_by(*by_time), "scheduled"
        yield here.filter(scheduled=None).order_by(*unscheduled), "added"


def _priorities(jobs: QuerySet[Job]) -> Iterator[QuerySet[Job]]:
    """The jobs of each priority, from the highest, each looked for when its turn comes."""
    priority = _highest(jobs)
    while priority is not None:
        yield jobs.filter(priority=priority)
        priority = _highest(jobs.filter(priority__lt=priority))


def _highest(jobs: QuerySet[Job]) -> Any:
    return jobs.order_by("-priority").values_list("priority", flat=True).first()


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
