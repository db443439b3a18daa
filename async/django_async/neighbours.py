"""Which jobs are before and behind one in the queue: read along the index of the fetch, whose order
it is, so that it costs the same however long the queue is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from django.db import connections
from django.db.models import Q, QuerySet

from django_async import census
from django_async.clock import DatabaseNow
from django_async.models import Job

NUMBER = 3
"""Neighbours on each side."""

PRIORITIES = 5
"""Other priorities that are looked into."""

Part = QuerySet[Job]

DUE, LATER = Q(scheduled__lte=DatabaseNow()), Q(scheduled__gt=DatabaseNow())


def neighbours(job: Job) -> tuple[list[Job], list[Job]]:
    """Those that are handed out before the job, and those after it, in order, NUMBER of each. Of a
    job whose time is to come, those of its priority whose time is to come before and after it."""
    jobs = census.pending_jobs(job._state.db)
    is_waiting = jobs.filter(LATER, pk=job.pk).exists()
    timed = LATER if is_waiting else DUE
    before = [_before_here(job, jobs.filter(priority=job.priority), timed)]
    after = [_after_here(job, jobs.filter(priority=job.priority), timed)]
    if not is_waiting:
        before.append(_higher(jobs, job.priority))
        after.append(_lower(jobs, job.priority))
    return _first(before)[::-1], _first(after)


def _before_here(job: Job, here: Part, timed: Q) -> Iterator[Part]:
    """At the job's priority, backwards from it."""
    if job.scheduled is None:
        yield _by_id(here).filter(pk__lt=job.pk).reverse()
        yield _by_time(here, timed).reverse()
    else:
        yield _by_id(here, job).filter(pk__lt=job.pk).reverse()
        yield _by_time(here, timed).filter(scheduled__lt=job.scheduled).reverse()


def _after_here(job: Job, here: Part, timed: Q) -> Iterator[Part]:
    """At the job's priority, from it on."""
    if job.scheduled is None:
        yield _by_id(here).filter(pk__gt=job.pk)
        return
    yield _by_id(here, job).filter(pk__gt=job.pk)
    yield _by_time(here, timed).filter(scheduled__gt=job.scheduled)
    if timed is DUE:
        yield _by_id(here)


def _higher(jobs: Part, priority: int) -> Iterator[Part]:
    """At the higher priorities, backwards from the lowest of them."""
    for _ in range(PRIORITIES):
        found = jobs.filter(priority__gt=priority).order_by("priority")
        if (nearest := found.values_list("priority", flat=True).first()) is None:
            return
        priority = nearest
        yield _by_id(jobs.filter(priority=priority)).reverse()
        yield _by_time(jobs.filter(priority=priority), DUE).reverse()


def _lower(jobs: Part, priority: int) -> Iterator[Part]:
    """At the lower priorities, from the highest of them on."""
    for _ in range(PRIORITIES):
        found = jobs.filter(priority__lt=priority).order_by("-priority")
        if (nearest := found.values_list("priority", flat=True).first()) is None:
            return
        priority = nearest
        yield _by_time(jobs.filter(priority=priority), DUE)
        yield _by_id(jobs.filter(priority=priority))


def _by_time(jobs: Part, where: Q) -> Part:
    """Those that have a time."""
    return jobs.filter(where).order_by("scheduled", "id")


def _by_id(jobs: Part, like: Job | None = None) -> Part:
    """Those that have no time, or that of this job."""
    same = jobs.filter(scheduled=like.scheduled if like else None)
    # MariaDB sorts all of them if the order names a column that is constant.
    is_by_id = connections[jobs.db].vendor == "mysql"
    return same.order_by("id") if is_by_id else same.order_by("scheduled", "id")


def _first(sides: list[Iterator[Part]]) -> list[Job]:
    parts = (part[:NUMBER] for part in chain.from_iterable(sides))
    return list(islice(chain.from_iterable(parts), NUMBER))
