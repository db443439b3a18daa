"""Pausing queues: of a paused queue nothing is handed out, by anybody, until it is resumed."""

from __future__ import annotations

from django.db import connections, transaction

from django_async import clock, wake
from django_async.models import Job, Pause, Statistic
from django_async.pending import IN_ORDER
from django_async.slots import QUEUE
from django_async.turn import take_turn

LOOKED_AT = 100
"""Jobs."""


def pause(queue: str, using: str) -> None:
    """Pause the queue, or every queue if the name is empty; as the caller's transaction commits."""
    with transaction.atomic(using=using):
        take_turn(using)
        if queue not in paused(using):
            Pause.objects.using(using).create(queue=queue, since=clock.now(using))
            wake.tell_of_pauses(using)


def resume(queue: str, using: str) -> bool:
    """Resume what was paused by this name; False if nothing was."""
    with transaction.atomic(using=using):
        take_turn(using)
        # Compared here: to MariaDB and MySQL, names that differ in case or accents are the same.
        pauses = [one.pk for one in Pause.objects.using(using).all() if one.queue == queue]
        wake.tell_of_pauses(using)
        return bool(Pause.objects.using(using).filter(pk__in=pauses).delete()[0])


def paused(using: str) -> frozenset[str]:
    """What is paused; an empty name means every queue."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT queue FROM async_pause")
        return frozenset(queue for (queue,) in cursor.fetchall())


def is_known(queue: str, using: str) -> bool:
    """Whether a job of this queue waits or runs, or ended in the time that the statistics cover. A
    queue is nothing but what its jobs say, so one that is not known may be one to come."""
    jobs = Job.objects.using(using).filter(IN_ORDER, queue=queue)
    # Compared here, as in resume(); and of a queue with a million jobs no more than some are read.
    return queue in set(jobs.values_list("queue", flat=True)[:LOOKED_AT]) | known(using)


def known(using: str) -> set[str]:
    """The queues that have had jobs lately, by the statistics."""
    rows = Statistic.objects.using(using).filter(scope=QUEUE)
    return set(rows.values_list("label", flat=True).distinct())
