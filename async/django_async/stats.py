"""Estimates of how long the queue still takes, from how long its jobs took.

All are in seconds. They take the recent past for the future and one job to run at a time, so they
are a hint for people and nothing to build upon.
"""

from __future__ import annotations

from collections import Counter as TallyOf
from datetime import timedelta
from typing import Any

from django.db.models import Avg, DurationField, ExpressionWrapper, F
from django.utils import timezone

from django_async import census, home
from django_async.models import Group, Job

RUN_TIME = ExpressionWrapper(F("executed") - F("started"), output_field=DurationField())
WAIT_TIME = ExpressionWrapper(F("started") - F("scheduled"), output_field=DurationField())

SAMPLE = 10_000
"""How many jobs a mean is taken over at the most, the latest ones: enough, and bounded in cost."""

Calls = TallyOf[tuple[Any, str]]
"""How many jobs there are of each function in each group."""

OWN_PACE = 100
"""How many groups are looked at one by one; the jobs of others count as jobs without a group."""


def estimate_rough_queue_completion(*, using: str | None = None) -> float:
    """Seconds until the queue is empty: the pending jobs, times the mean of run and wait of the
    jobs that were executed in the last day."""
    using, yesterday = home.of_queue(using), timezone.now() - timedelta(days=1)
    recent = Job.objects.using(using).filter(executed__gt=yesterday).order_by("-executed")[:SAMPLE]
    means = recent.aggregate(run=Avg(RUN_TIME), wait=Avg(WAIT_TIME))
    each = _seconds(means["run"]) + _seconds(means["wait"])
    return round(census.take(using).pending * each, 2)


def estimate_current_job_completion() -> float | None:
    """Seconds until the running job ends; None, for a running job is not visible from outside its
    transaction in this version."""
    return None


def estimate_queue_completion(*, using: str | None = None) -> float:
    """Seconds until the queue is empty: each open group by its own pace, and the pending jobs
    outside groups by the mean time of their function.

    Where too many jobs are pending to be read, the rest is taken to be like those that were.
    """
    using = home.of_queue(using)
    pending = census.pending_jobs(using).order_by("priority", "scheduled", "id")
    calls: Calls = TallyOf(pending.values_list("group", "name")[: census.EXACT])
    groups = sorted({group for group, _ in calls if group is not None})[:OWN_PACE]
    seconds = _estimate_groups(groups, using) + _estimate_calls(calls, groups, using)
    read = calls.total()
    return round(seconds * census.take(using).pending / read, 2) if read else 0.0


def _estimate_groups(groups: list[int], using: str) -> float:
    found = Group.objects.using(using).filter(pk__in=groups)
    return sum(_seconds(group.estimate_execution_duration()[1]) for group in found)


def _estimate_calls(calls: Calls, groups: list[int], using: str) -> float:
    """The jobs outside of these groups, each by the mean time of its function."""
    means = _mean_run_times(using)
    return sum(
        number * means.get(name, 0.0)
        for (group, name), number in calls.items()
        if group not in groups
    )


def _mean_run_times(using: str) -> dict[str, float]:
    """Of each function that is among the latest executed jobs, by one walk back over these."""
    executed = Job.objects.using(using).executed()
    stamps = executed.order_by("-executed").values_list("executed", flat=True)
    since = stamps[SAMPLE - 1 : SAMPLE].first()
    latest = executed.filter(executed__gte=since) if since else executed
    means = latest.values_list("name").annotate(mean=Avg(RUN_TIME)).order_by()
    return {name: _seconds(mean) for name, mean in means}


def _seconds(duration: timedelta | None) -> float:
    return max(0.0, duration.total_seconds()) if duration else 0.0
