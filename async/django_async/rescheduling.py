"""Giving jobs another time, whatever has become of them, unless they were executed."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet

from django_async import clock, current, wake
from django_async.errors import JobEnded, JobNotRunnable
from django_async.groups import Group
from django_async.locks import lock_free
from django_async.models import Job
from django_async.noticeboard import noticeboard
from django_async.pending import BY_KEY
from django_async.turn import take_turn

MAY_CHANGE = Q(executed=None) & ~Q(BY_KEY, started__isnull=False)
"""Of a row that is locked. A job without a transaction runs unlocked, and has a start."""

FAILED = Q(BY_KEY, attempts__gt=0) | Q(discarded__isnull=False)


def retry(job: Job) -> None:
    """Have the job run now. Raises as ``reschedule()``."""
    _move(job, clock.DatabaseNow(), job._state.db or "default")


def reschedule(job: Job, when: datetime | timedelta) -> None:
    """Have the job run then. Raises TypeError or ValueError for what is no moment, JobEnded if it
    was executed or is gone, JobNotRunnable if it is running (the caller itself, say),
    ValidationError if its group would be the second open one of its reference."""
    using = job._state.db or "default"
    _move(job, clock.moment(when, partial(clock.utc_now, using)), using)


def retry_failed(jobs: QuerySet[Job]) -> int:
    """Have those of the jobs run now that have failed and wait, or were discarded; how many there
    were. Those that are running are left alone (a job that calls it, too), and those whose group
    cannot be opened again."""
    using = jobs.db
    with transaction.atomic(using=using):
        take_turn(using)
        found = jobs.filter(FAILED).values_list("pk", flat=True)
        where = FAILED & MAY_CHANGE
        return sum(
            len(give_time(locked, clock.DatabaseNow(), using))
            for locked in lock_free(found, using, where=where)
        )


def give_time(ids: list[int], moment: Any, using: str) -> list[int]:
    """Set the time of jobs whose rows are locked, but not of those whose group cannot be opened
    again; which they were."""
    ids = _without_closed_groups(ids, using)
    _give_time(ids, moment, using)
    return ids


def _move(job: Job, moment: Any, using: str) -> None:
    with transaction.atomic(using=using):
        take_turn(using)
        if not any(lock_free([job.pk or 0], using, where=MAY_CHANGE)):
            raise _refusal(job, using)
        _check_group(job, using)
        _give_time([job.pk], moment, using)
    job.refresh_from_db(using=using)


def _give_time(ids: list[int], moment: Any, using: str) -> None:
    """Set the time, and end what had ended the jobs. That they were asked to be cancelled before,
    holds no more."""
    if not ids:
        return
    _take_requests_back(ids, using)
    wake.on_commit(using, ids[0] if len(ids) == 1 else None)
    jobs = Job.objects.using(using).filter(pk__in=ids)
    jobs.update(scheduled=moment, started=None, cancelled=None, discarded=None)


def _check_group(job: Job, using: str) -> None:
    ended = Job.objects.using(using).exclude(BY_KEY).filter(pk=job.pk, group__isnull=False)
    for row in ended.select_related("group"):
        if row.group:
            row.group.check_may_reopen(using)


def _without_closed_groups(ids: list[int], using: str) -> list[int]:
    ended = Job.objects.using(using).exclude(BY_KEY).filter(pk__in=ids, group__isnull=False)
    groups = Group.objects.using(using).filter(pk__in=ended.values("group"))
    closed = [group.pk for group in groups if not _may_reopen(group, using)]
    left_out = set(ended.filter(group__in=closed).values_list("pk", flat=True)) if closed else ()
    return [job for job in ids if job not in left_out]


def _may_reopen(group: Group, using: str) -> bool:
    try:
        group.check_may_reopen(using)
    except ValidationError:
        return False
    return True


def _take_requests_back(ids: list[int], using: str) -> None:
    with closing(noticeboard(using)) as board:
        board.drop([one for one in board.requests() if one.job_id in ids])


def _refusal(job: Job, using: str) -> JobNotRunnable:
    """Why the row could not be had."""
    if job.pk == current.own_id(using):
        return JobNotRunnable(
            f"Job {job.pk} cannot give itself another time: what its attempt comes to would undo"
            " that. To be tried again, raise an exception; or schedule another job."
        )
    row = Job.objects.using(using).filter(pk=job.pk).first()
    if row is None:
        return JobEnded(f"There is no job {job.pk} any more.")
    if row.executed:
        return JobEnded(f"Job {job.pk} was executed, and is never run again.")
    return JobNotRunnable(
        f"Job {job.pk} is running: it can be given another time when its attempt has ended."
    )
