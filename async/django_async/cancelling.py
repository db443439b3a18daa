"""Cancelling jobs of which some may be running."""

from __future__ import annotations

from django.db import transaction

from django_async import clock
from django_async.locks import lock_all
from django_async.models import Job
from django_async.pending import BY_CALL, BY_KEY
from django_async.turn import take_turn


def cancel(identity: str, using: str, *, wait: bool, but: int | None = None) -> int:
    """Cancel the pending jobs of an identity (``but`` excepted); how many there were.

    Without ``wait``, jobs whose row is locked are left alone: they are running. So are
    those that run without a transaction, in any case.
    """
    others = Job.objects.using(using).exclude(pk=but or 0)
    with transaction.atomic(using=using):
        take_turn(using)
        found = others.filter(BY_CALL, identity=identity, started=None)
        return sum(
            _cancel_all(locked, using)
            for locked in lock_all(found.values_list("pk", flat=True), using, wait=wait)
        )


def _cancel_all(ids: list[int], using: str) -> int:
    """Cancel those that are still pending, now that their rows are locked."""
    jobs = Job.objects.using(using).filter(BY_KEY, pk__in=ids, started=None)
    return jobs.update(cancelled=clock.DatabaseNow())
