"""Cancelling jobs of which some may be running.

A job that nobody has locked is cancelled at once. What somebody runs can be cancelled by its parent
alone, who may be elsewhere: it is asked to, by a request on the noticeboard (see control.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from django.db import OperationalError, transaction
from django.db.models import Q

from django_async import clock
from django_async.locks import lock_all
from django_async.models import Job
from django_async.pending import BY_CALL, BY_KEY
from django_async.trouble import is_conflict
from django_async.turn import take_turn, without_waiting

NOT_RUNNING = Q(BY_KEY, started=None)
"""Of a row that is locked. A job without a transaction runs unlocked, and has a start."""


def cancel(identity: str, using: str, *, wait: bool, but: int | None = None) -> int:
    """Cancel the pending jobs of an identity (``but`` excepted); how many there were.

    Without ``wait``, jobs whose row is locked are left alone: they are running.
    """
    others = Job.objects.using(using).exclude(pk=but or 0)
    with transaction.atomic(using=using):
        take_turn(using)
        found = others.filter(BY_CALL, identity=identity)
        return sum(
            _cancel_all(locked, using)
            for locked in lock_all(found.values_list("pk", flat=True), using, wait=wait)
        )


def cancel_free(
    ids: Collection[int], using: str, wanted: Callable[[], Collection[int]] | None = None
) -> set[int]:
    """Cancel those that are pending and that nobody runs or has locked; which they were.

    ``wanted`` says, once they are locked, which of them are to be cancelled at all. Never waits. On
    SQLite that means that none is cancelled while anybody writes.
    """
    free: set[int] = set()
    try:
        with without_waiting(using), transaction.atomic(using=using):
            take_turn(using)
            for locked in lock_all(ids, using, wait=False, where=NOT_RUNNING):
                chosen = [job for job in locked if job in wanted()] if wanted else locked
                _cancel_all(chosen, using)
                free.update(chosen)
    except OperationalError as error:
        if not is_conflict(error, using):
            raise
        return set()
    return free


def _cancel_all(ids: list[int], using: str) -> int:
    """Cancel those that are still pending, now that their rows are locked."""
    jobs = Job.objects.using(using).filter(BY_KEY, pk__in=ids)
    return jobs.update(cancelled=clock.DatabaseNow())
