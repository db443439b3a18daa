"""Which jobs are before and behind one in the queue: read along the index of the fetch, whose order
it is, so that it costs the same however long the queue is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice

from django.db import connections
from django.db.models import Q, QuerySet

from django_async import census
from django_async.calls import LARGE
from django_async.clock import DatabaseNow
from django_async.models import Job

NUMBER = 3
"""Neighbours on each side."""

PRIORITIES = 5
"""Other priorities that are looked into."""

Rows = QuerySet[Job]

DUE, LATER = Q(scheduled__lte=DatabaseNow()), Q(scheduled__gt=DatabaseNow())


def neighbours(job: Job) -> tuple[list[Job], list[Job]]:
    """Those that are handed out before the job, and those after it, in order, NUMBER of each. Of a
    job whose time is to come, those of its priority whose time is to come before and after it."""
    jobs = census.pending_jobs(job._state.db or "default").defer(*LARGE)
    here, is_waiting = jobs.filter(priority=job.priority), jobs.filter(LATER, pk=job.pk).exists()
    if is_waiting:
        before, after = _before_here(job, here, LATER), _after_here(job, here, LATER)
    else:
        before = chain(_before_here(job, here, DUE), _before_elsewhere(job, jobs))
        after = chain(_after_here(job, here, DUE), _after_elsewhere(job, jobs))
    return _first(before)[::-1], _first(after)


def _before_here(job: Job, here: Rows, timed: Q) -> Iterator[Rows]:
    """At the job's priority, backwards from it."""
    yield _at(here, job.scheduled).filter(pk__lt=job.pk).reverse()
    earlier = Q() if job.scheduled is None else Q(scheduled__lt=job.scheduled)
    yield _by_time(here, timed & earlier).reverse()


def _after_here(job: Job, here: Rows, timed: Q) -> Iterator[Rows]:
    """At the job's priority, from it on."""
    yield _at(here, job.scheduled).filter(pk__gt=job.pk)
    if job.scheduled is not None:
        yield _by_time(here, timed & Q(scheduled__gt=job.scheduled))
        if timed is DUE:
            yield _at(here, None)


def _before_elsewhere(job: Job, jobs: Rows) -> Iterator[Rows]:
    """At higher priorities, backwards from the lowest of them."""
    for here in _beyond(job, jobs, "priority__gt", "priority"):
        yield _at(here, None).reverse()
        yield _by_time(here, DUE).reverse()


def _after_elsewhere(job: Job, jobs: Rows) -> Iterator[Rows]:
    """At lower priorities, from the highest of them on."""
    for here in _beyond(job, jobs, "priority__lt", "-priority"):
        yield _by_time(here, DUE)
        yield _at(here, None)


def _beyond(job: Job, jobs: Rows, lookup: str, order: str) -> Iterator[Rows]:
    """The jobs of each other priority on one side, the nearest first."""
    priority = job.priority
    for _ in range(PRIORITIES):
        others = jobs.filter(**{lookup: priority}).order_by(order)
        if (nearest := others.values_list("priority", flat=True).first()) is None:
            return
        priority = nearest
        yield jobs.filter(priority=priority)


def _by_time(jobs: Rows, where: Q) -> Rows:
    """Those that have a time."""
    return jobs.filter(where).order_by("scheduled", "id")


def _at(jobs: Rows, moment: datetime | None) -> Rows:
    """Those of one moment, or without any."""
    # MariaDB sorts all of them if the order names a column that is constant.
    is_by_id = connections[jobs.db].vendor == "mysql"
    return jobs.filter(scheduled=moment).order_by(*(("id",) if is_by_id else ("scheduled", "id")))


def _first(ranges: Iterator[Rows]) -> list[Job]:
    return list(islice(chain.from_iterable(rows[:NUMBER] for rows in ranges), NUMBER))
