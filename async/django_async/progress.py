"""How far a group has come, in the words of 0.7.3."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Max, Q
from django.db.models.functions import Coalesce

from django_async.models import Group
from django_async.pending import BY_KEY, IN_GROUP

MOST = 10_000
"""Jobs of a group that a list of groups counts: many groups are shown at once."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a group has come, at a cost that does not grow with it."""

    total: int
    executed: int
    ended: int
    failed: int
    """Jobs that failed at least once."""
    failing: int
    """Those of them that were not executed since."""
    remaining: timedelta | None
    """An estimate; None while no job has ended."""


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


def counts(group: Group, most: int = MOST) -> Counts | None:
    """How far the group has come, by one read of at most so many of its jobs and one more; None if
    there are more."""
    rows = group.jobs.order_by().values(*_COLUMNS)[: most + 1]
    found = rows.aggregate(
        all_jobs=Count("pk"),
        all_executed=Count("executed"),
        all_ended=Count(Coalesce("executed", "cancelled", "discarded")),
        all_failed=Count("pk", filter=_HAS_FAILED),
        all_failing=Count("pk", filter=_HAS_FAILED & Q(executed=None)),
        latest=Max("executed"),
    )
    total, ended = found["all_jobs"], found["all_ended"]
    if total > most:
        return None
    _, remaining, _ = group.estimate_from(total, ended, found["latest"])
    return Counts(
        total=total,
        executed=found["all_executed"],
        ended=ended,
        failed=found["all_failed"],
        failing=found["all_failing"],
        remaining=remaining,
    )


_COLUMNS = ("pk", "started", "executed", "cancelled", "discarded", "attempts")

_HAS_FAILED = Q(attempts__gt=1) | Q(attempts=1, executed=None) & ~Q(BY_KEY, started__isnull=False)
"""By the number of attempts alone: the one that was executed, or that runs, is no failure."""


def is_open(group: Group) -> bool:
    """Whether a job of the group has not ended, by one probe of an index."""
    return group.jobs.filter(IN_GROUP).exists()


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else max(0.0, round(duration.total_seconds(), 3))
