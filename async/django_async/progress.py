"""How far a group has come, in the words of 0.7.3."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q

from django_async.models import Group


def of(group: Group) -> dict[str, Any] | None:
    """0.7.3's keys, as JSON can hold them; None for a group without jobs, of which it said nothing.

    It reads the group's jobs, and no others.
    """
    has_failed, is_executed = Q(errors__isnull=False), Q(executed__isnull=False)
    found = group.jobs.aggregate(total=Count("pk"), executed=Count("executed"))
    if not found["total"]:
        return None
    failed = group.jobs.filter(has_failed)
    latest = group.latest_executed_job()
    _, remaining, consumed = group.estimate_execution_duration()
    return {
        "id": group.pk,
        "reference": group.reference,
        "created": group.created.isoformat(),
        "latest_job_completed": latest.executed.isoformat() if latest and latest.executed else None,
        "total_jobs": found["total"],
        "total_executed_jobs": found["executed"],
        "total_unexecuted_jobs": found["total"] - found["executed"],
        "total_error_jobs": failed.distinct().count(),
        "current_errors": failed.exclude(is_executed).distinct().count(),
        "consumed_seconds": _seconds(consumed),
        "remaining_seconds": _seconds(remaining),
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else max(0.0, round(duration.total_seconds(), 3))
