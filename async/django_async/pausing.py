"""Pausing queues: of a paused queue nothing is handed out, by anybody, until it is resumed."""

from __future__ import annotations

from django.db import transaction

from django_async import clock, wake
from django_async.models import Pause
from django_async.turn import take_turn


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
    return frozenset(Pause.objects.using(using).values_list("queue", flat=True))
