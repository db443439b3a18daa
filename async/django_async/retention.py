"""Deleting what ended long ago, in batches that hold up nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from django_async.models import Group, Job

BATCH = 1000


def remove_before(moment: datetime, using: str) -> None:
    """Delete the jobs without a group that ended before the moment, and the groups all of whose
    jobs did. A group without jobs stays: somebody may be about to fill it."""
    old = _ended_before(moment)
    jobs = Job.objects.using(using)
    _delete(jobs.filter(old, group=None))
    members = jobs.filter(group=OuterRef("pk"))
    young = members.exclude(old)
    groups = Group.objects.using(using).filter(Exists(members), ~Exists(young))
    _delete(groups)


def _ended_before(moment: datetime) -> Q:
    return Q(executed__lt=moment) | Q(cancelled__lt=moment) | Q(discarded__lt=moment)


def _delete(rows: QuerySet[Any]) -> None:
    model, using = rows.model, rows.db
    while ids := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        model._default_manager.using(using).filter(pk__in=ids).delete()
