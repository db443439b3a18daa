"""The same done to many jobs: in portions, each with a transaction of its own, that hold up nobody.

No row that somebody has locked is waited for: that job is running. What is left alone is counted by
what keeps it, so that an operator learns it. On SQLite each portion waits for its turn to write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from django_async import cancelling, clock, rescheduling, wake
from django_async.api import checked_priority, checked_queue
from django_async.cancelling import NOT_RUNNING
from django_async.locks import lock_free
from django_async.models import Job
from django_async.rescheduling import MAY_CHANGE
from django_async.turn import take_turn

PORTION = 500
"""Jobs in one transaction: a tenth of a second, for which their rows are locked."""

READ = 100_000
"""Ids that are read at once. What chooses the jobs may have to look at every row for them, and was
asked anew for each portion: that took a minute for 100,000 of a million."""

RUNNING = "running"


@dataclass(slots=True)
class Tally:
    """What came of it.

    Attributes:
        changed: number of jobs to which it was done.
        asked: number of jobs that run, and whose parents were asked to do it.
        left_alone: numbers of the others, by the state that keeps them from it.
    """

    changed: int = 0
    asked: int = 0
    left_alone: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        parts = [f"{self.changed} changed"]
        parts += [f"{self.asked} running and asked for"] if self.asked else []
        parts += [
            f"{number} left alone: {word}" for word, number in sorted(self.left_alone.items())
        ]
        return ", ".join(parts)


def retry(jobs: QuerySet[Job]) -> Tally:
    """Have them run now, whatever has become of them: of those that were not executed and do not
    run. Left alone are also those of a group that has ended and whose reference means another."""
    return _give_time(jobs, clock.DatabaseNow())


def reschedule(jobs: QuerySet[Job], when: datetime | timedelta) -> Tally:
    """The same, but then. Raises TypeError or ValueError for what is no moment."""
    return _give_time(jobs, clock.moment(when, partial(clock.utc_now, jobs.db)))


def cancel(jobs: QuerySet[Job]) -> Tally:
    """Cancel them; the parents of those that run are asked to interrupt these."""
    tally = Tally()
    for ids in _portions(jobs):
        done, asked = cancelling.cancel_some(ids, jobs.db)
        tally.changed += len(done)
        tally.asked += len(asked)
        _count_left(tally, ids - done - asked, jobs.db)
    return tally


def discard(jobs: QuerySet[Job]) -> Tally:
    """Give them up, those that are pending and do not run: their final jobs wait for them no more,
    and ``retry()`` brings them back."""
    return _update(jobs, discarded=clock.DatabaseNow())


def prioritise(jobs: QuerySet[Job], priority: int) -> Tally:
    """Give another priority to those that are pending and do not run. Raises TypeError or
    ValueError for what is none."""
    return _update(jobs, priority=checked_priority(priority))


def move(jobs: QuerySet[Job], queue: str) -> Tally:
    """Put those that are pending and do not run into another queue. Raises TypeError or ValueError
    for what is no queue's name."""
    return _update(jobs, queue=checked_queue(queue))


def _give_time(jobs: QuerySet[Job], moment: Any) -> Tally:
    give = partial(rescheduling.give_time, moment=moment, using=jobs.db)
    return _change(jobs, MAY_CHANGE, give)


def _update(jobs: QuerySet[Job], **values: Any) -> Tally:
    def update(ids: list[int]) -> list[int]:
        Job.objects.using(jobs.db).filter(pk__in=ids).update(**values)
        wake.on_commit(jobs.db, None)
        return ids

    return _change(jobs, NOT_RUNNING, update)


def _change(jobs: QuerySet[Job], where: Q, act: Callable[[list[int]], list[int]]) -> Tally:
    """Do it to those that meet the condition once they are locked; which they were, it says."""
    tally = Tally()
    for ids in _portions(jobs):
        done: set[int] = set()
        with transaction.atomic(using=jobs.db):
            take_turn(jobs.db)
            for locked in lock_free(ids, jobs.db, where=where):
                done.update(act(locked) if locked else ())
        tally.changed += len(done)
        _count_left(tally, ids - done, jobs.db)
    return tally


def _portions(jobs: QuerySet[Job]) -> Iterator[set[int]]:
    """The ids of the jobs, each once."""
    keys = jobs.order_by("pk").values_list("pk", flat=True)
    ids = list(keys[:READ])
    while ids:
        for start in range(0, len(ids), PORTION):
            yield set(ids[start : start + PORTION])
        ids = list(keys.filter(pk__gt=ids[-1])[:READ]) if len(ids) == READ else []


def _count_left(tally: Tally, ids: set[int], using: str) -> None:
    if not ids:
        return
    for job in Job.objects.using(using).filter(pk__in=ids).defer("args", "kwargs", "result"):
        tally.left_alone[job.state if _has_ended(job) else RUNNING] += 1


def _has_ended(job: Job) -> bool:
    return bool(job.executed or job.cancelled or job.discarded)
