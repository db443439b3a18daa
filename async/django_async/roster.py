"""Who runs what now, for people: the parents, what they show, and which of them are dead."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from django_async.models import Job, JobQuerySet, Parent, Running
from django_async.noticeboard import noticeboard
from django_async.parents import living
from django_async.pending import BY_KEY


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that runs, or that a dead parent said to run."""

    run: Running
    parent: Parent | None
    """None if the parent has been struck out, and only this is left of it."""
    is_alive: bool


def parents(using: str) -> list[tuple[Parent, bool]]:
    """The parents, the oldest first, and whether each lives."""
    known = list(Parent.objects.using(using).order_by("pk"))
    alive = living({parent.token: parent.process for parent in known}, using)
    return [(parent, parent.token in alive) for parent in known]


def entries(using: str) -> list[Entry]:
    """What the parents show, the oldest first, without what has ended since. Raises
    NoticesUnavailable."""
    with closing(noticeboard(using)) as board:
        runs = board.runs()
    if not runs:
        return []
    known = {parent.token: (parent, is_alive) for parent, is_alive in parents(using)}
    pending = _pending({run.job_id for run in runs}, using)
    return [
        Entry(run, *known.get(run.parent_id, (None, False)))
        for run in sorted(runs, key=lambda run: run.since)
        if run.job_id in pending
    ]


def alive(using: str) -> dict[int, Entry]:
    """What runs now, by the job's id. Raises NoticesUnavailable."""
    return {entry.run.job_id: entry for entry in entries(using) if entry.is_alive}


def running(jobs: JobQuerySet) -> JobQuerySet:
    """Those of the jobs that run now."""
    return jobs.filter(BY_KEY, pk__in=alive(jobs.db))


def _pending(ids: Iterable[int], using: str) -> set[int]:
    return set(Job.objects.using(using).filter(BY_KEY, pk__in=ids).values_list("pk", flat=True))
