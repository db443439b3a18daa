"""Estimates of how long the queue still takes, from how long its jobs took.

All are in seconds. They take the recent past for the future and one job to run at a time, so they
are a hint for people and nothing to build upon.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F
from django.utils import timezone

from django_async import pending
from django_async.models import Group, Job

RUN_TIME = ExpressionWrapper(F("executed") - F("started"), output_field=DurationField())
WAIT_TIME = ExpressionWrapper(F("started") - F("scheduled"), output_field=DurationField())

SAMPLE = 10_000
"""How many jobs a mean is taken over at the most, the latest ones: enough, and bounded in cost."""


def estimate_rough_queue_completion() -> float:
    """Seconds until the queue is empty: the pending jobs, times the mean of run and wait of the
    jobs that were executed in the last day."""
    yesterday = timezone.now() - timedelta(days=1)
    recent = Job.objects.filter(executed__gt=yesterday).order_by("-executed")[:SAMPLE]
    means = recent.aggregate(run=Avg(RUN_TIME), wait=Avg(WAIT_TIME))
    waiting = Job.objects.pending().filter(started=None).count()
    return round(waiting * (_seconds(means["run"]) + _seconds(means["wait"])), 2)


def estimate_current_job_completion() -> float | None:
    """Seconds until the running job ends; None, for a running job is not visible from outside its
    transaction in this version."""
    return None


def estimate_queue_completion() -> float:
    """Seconds until the queue is empty: each open group by its own pace, and the pending jobs
    outside groups by the mean time of their function."""
    return round(_estimate_groups() + _estimate_ungrouped(), 2)


def _estimate_groups() -> float:
    open_groups = Group.objects.filter(pk__in=Job.objects.filter(pending.IN_GROUP).values("group"))
    estimates = (group.estimate_execution_duration()[1] for group in open_groups)
    return sum(_seconds(remaining) for remaining in estimates)


def _estimate_ungrouped() -> float:
    waiting = Job.objects.pending().filter(group=None).order_by()
    counts = waiting.values_list("name").annotate(Count("pk"))
    return sum((count * _mean_run_time(name) for name, count in counts), 0.0)


def _mean_run_time(name: str) -> float:
    done = Job.objects.executed().filter(name=name, group=None).order_by("-executed")[:SAMPLE]
    return _seconds(done.aggregate(mean=Avg(RUN_TIME))["mean"])


def _seconds(duration: timedelta | None) -> float:
    return max(0.0, duration.total_seconds()) if duration else 0.0
