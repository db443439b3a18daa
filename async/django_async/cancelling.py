"""Cancelling jobs of which some may be running.

A job that nobody has locked is cancelled at once. What somebody runs can be cancelled by its parent
alone, who may be elsewhere: it is asked to, by a request on the noticeboard (see control.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from datetime import datetime

from django.db import OperationalError, transaction
from django.db.models import Q

from django_async import clock
from django_async.errors import JobEnded, NoticesUnavailable
from django_async.locks import lock_all, lock_free
from django_async.models import Cancellation, Job
from django_async.noticeboard import noticeboard
from django_async.pending import BY_CALL, BY_KEY
from django_async.trouble import is_conflict
from django_async.turn import impatient, take_turn

NOT_RUNNING = Q(BY_KEY, started=None)
"""Of a row that is locked. A job without a transaction runs unlocked, and has a start."""

PATIENCE = 0.1
"""Seconds that a caller waits for SQLite's writer, who may be no job but somebody quick."""


def cancel(identity: str, using: str, *, wait: bool, but: int | None = None) -> int:
    """Cancel the pending jobs of an identity (``but`` excepted); how many there were.

    Without ``wait``, jobs whose row is locked are left alone: they are running. So are those that
    run without a transaction, in any case.
    """
    others = Job.objects.using(using).exclude(pk=but or 0)
    with transaction.atomic(using=using):
        take_turn(using)
        found = others.filter(BY_CALL, identity=identity, started=None)
        return sum(
            _cancel_all(locked, using)
            for locked in lock_all(found.values_list("pk", flat=True), using, wait=wait)
        )


def cancel_running_too(identity: str, using: str, *, but: int | None = None) -> int:
    """The same, but ask for what cannot be had at once, and never wait; how many both were."""
    matches = Job.objects.using(using).exclude(pk=but or 0).filter(BY_CALL, identity=identity)
    done, asked = cancel_some(set(matches.values_list("pk", flat=True)), using)
    return len(done) + len(asked)


def cancel_some(ids: set[int], using: str) -> tuple[set[int], set[int]]:
    """Cancel those of the jobs that are pending, and ask for what cannot be had at once; which both
    were. Never waits for a row."""
    done = cancel_free(ids, using, patience=PATIENCE)
    rest = Job.objects.using(using).filter(BY_KEY, pk__in=ids - done)
    left = dict(rest.values_list("pk", "added"))
    _ask(left, using)
    return done, set(left)


def cancel_job(job: Job) -> bool:
    """Cancel the job, or ask for it; whether it is cancelled. Raises JobEnded if it has ended."""
    using = job._state.db or "default"
    done = bool(job.pk and cancel_free({job.pk}, using, patience=PATIENCE))
    if not done:
        row = Job.objects.using(using).filter(pk=job.pk).first()
        if row is None or row.executed or row.cancelled or row.discarded:
            state = f"is {row.state}" if row else "is gone"
            raise JobEnded(f"Job {job.pk} {state}: there is nothing to cancel.")
        _ask({row.pk: row.added}, using)
    job.refresh_from_db(using=using)
    return done


def is_asked_for(job_id: int, using: str) -> bool:
    """Whether there is a request to cancel the job."""
    try:
        with closing(noticeboard(using)) as board:
            requests = [one.added for one in board.requests() if one.job_id == job_id]
    except NoticesUnavailable:
        return False
    return (
        bool(requests) and Job.objects.using(using).filter(pk=job_id, added__in=requests).exists()
    )


def cancel_free(
    ids: Collection[int],
    using: str,
    *,
    wanted: Callable[[], Collection[int]] | None = None,
    patience: float = 0.0,
) -> set[int]:
    """Cancel those that are pending and that nobody runs or has locked; which they were.

    ``wanted`` says, once they are locked, which of them are to be cancelled at all. Waits for no
    row's lock; on SQLite none is cancelled if somebody else writes for longer than ``patience``
    seconds.
    """
    free: set[int] = set()
    try:
        with impatient(using, patience), transaction.atomic(using=using):
            take_turn(using)
            for locked in lock_free(ids, using, where=NOT_RUNNING):
                chosen = [job for job in locked if job in wanted()] if wanted else locked
                _cancel_all(chosen, using)
                free.update(chosen)
    except OperationalError as error:
        if not is_conflict(error, using):
            raise
        return set()
    return free


def _ask(jobs: Mapping[int, datetime], using: str) -> None:
    """Request that jobs be cancelled, each told from later ones by when it was added."""
    if jobs:
        now = clock.now(using)
        with closing(noticeboard(using)) as board:
            board.ask(
                [Cancellation(job_id=pk, added=added, asked=now) for pk, added in jobs.items()]
            )


def _cancel_all(ids: list[int], using: str) -> int:
    """Cancel those that are still pending, now that their rows are locked."""
    jobs = Job.objects.using(using).filter(NOT_RUNNING, pk__in=ids)
    return jobs.update(cancelled=clock.DatabaseNow())
