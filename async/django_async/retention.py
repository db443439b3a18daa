"""Deleting what ended long ago, in batches that hold up nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from django_async import clock
from django_async.locks import lock_all
from django_async.models import Group, Job
from django_async.turn import take_turn

BATCH = 1000


def remove_before(moment: datetime, using: str) -> None:
    """Delete the jobs without a group that ended before the moment, and the groups all of whose
    jobs did. A group without jobs stays: somebody may be about to fill it."""
    _delete(Job.objects.using(using).filter(_ended_before(moment), group=None))
    _delete(_old_groups(moment, using))


def remove_some(seconds: float, using: str, at_most: int) -> int:
    """Delete about so many of the jobs and groups that ended longer than so many seconds ago, by
    the database's clock; how many rows that were."""
    moment = clock.as_field_value(clock.utc_now(using) - timedelta(seconds=seconds))
    removed = 0
    for state in ("executed", "cancelled", "discarded"):
        removed += _delete_free(state, moment, using, at_most - removed)
    return removed + _delete_first(_old_groups(moment, using).order_by("pk"), at_most - removed)


def _old_groups(moment: datetime, using: str) -> QuerySet[Group]:
    """The groups that have jobs, all of which ended before the moment."""
    members = Job.objects.using(using).filter(group=OuterRef("pk"))
    young = members.exclude(_ended_before(moment))
    return Group.objects.using(using).filter(Exists(members), ~Exists(young))


def _ended_before(moment: datetime) -> Q:
    return Q(executed__lt=moment) | Q(cancelled__lt=moment) | Q(discarded__lt=moment)


def _delete(rows: QuerySet[Any]) -> None:
    while _delete_first(rows.order_by("pk"), BATCH):
        pass


def _delete_free(state: str, moment: datetime, using: str, number: int) -> int:
    """Delete the first jobs without a group that came to this end before the moment, but for those
    whose rows somebody has locked, or which were retried since they were read; how many."""
    ended, jobs = Q(**{f"{state}__lt": moment}), Job.objects.using(using)
    old = jobs.filter(ended, group=None).order_by(state).values_list("pk", flat=True)
    if not (ids := list(old[:number]) if number > 0 else []):
        return 0
    with transaction.atomic(using=using):
        take_turn(using)
        free = [one for some in lock_all(ids, using, wait=False, where=ended) for one in some]
        jobs.filter(pk__in=free).delete()
    return len(free)


def _delete_first(rows: QuerySet[Any], number: int) -> int:
    """Delete the first rows of a query, with what belongs to them; how many of them there were."""
    ids = list(rows.values_list("pk", flat=True)[:number]) if number > 0 else []
    if ids:
        rows.model._default_manager.using(rows.db).filter(pk__in=ids).delete()
    return len(ids)
