"""How the queue is, in a form that can be turned into JSON."""

from __future__ import annotations

from collections import Counter as TallyOf
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.urls import NoReverseMatch, reverse

from django_async import clock
from django_async.models import Error, Job, JobQuerySet
from django_async.stats import (
    estimate_current_job_completion,
    estimate_rough_queue_completion,
)

EXACT = 100_000
"""Rows that are counted one by one; above, the database's own estimate is told."""


def health(
    estimation_fn: Callable[[], float] = estimate_rough_queue_completion,
) -> dict[str, dict[str, Any]]:
    """The state of the queue: 0.7.3's keys, and what an operator needs.

    Counts are exact up to 100,000 rows; above that, ``approximate`` is true, counts of finished
    jobs stop there and the number of all jobs is the database's estimate. Jobs are given by id,
    and by their admin URL where the admin is installed. ``running`` and the estimate of the
    current job are null: a running job is not visible from outside its transaction in this
    version.
    """
    counted = Counter()
    jobs = Job.objects.all()
    queue: dict[str, Any] = {
        "all-jobs": counted.all_jobs(),
        **_executed(jobs, counted),
        **_pending(jobs, counted),
        **_cancelled(jobs, counted),
        "discarded": counted(jobs.discarded()),
        "running": None,
        "estimated-completion-current-job": estimate_current_job_completion(),
        "estimated-completion": estimation_fn(),
    }
    errors = {"number": counted(Error.objects.all())}
    queue["approximate"] = counted.approximate
    return {"queue": queue, "errors": errors}


class Counter:
    """Counts rows, but not without end."""

    def __init__(self) -> None:
        self.approximate = False

    def __call__(self, rows: Any) -> int:
        """How many rows there are, counted no further than to EXACT."""
        found: int = rows.order_by().values("pk")[: EXACT + 1].count()
        self.approximate |= found > EXACT
        return min(found, EXACT)

    def all_jobs(self) -> int:
        """How many jobs there are: counted, or, when they are too many, as the planner believes."""
        counted = self(Job.objects.all())
        return counted if counted < EXACT else max(counted, _estimated_rows())


def _executed(jobs: JobQuerySet, counted: Counter) -> dict[str, Any]:
    executed = jobs.executed()
    return {
        "executed": counted(executed),
        "executed-details": _by_name(executed.order_by("-executed")),
        "oldest-executed": _link(executed.order_by("executed").first()),
        "most-recent-executed": _link(executed.order_by("-executed").first()),
    }


def _pending(jobs: JobQuerySet, counted: Counter) -> dict[str, Any]:
    remaining = counted(jobs.pending())
    return {
        "remaining": remaining,
        "not-executed": remaining,
        "not-executed-details": _by_name(jobs.pending()),
        "due": counted(jobs.due()),
        "oldest-due-age": _oldest_due_age(jobs),
        "failing": counted(jobs.failed()),
    }


def _cancelled(jobs: JobQuerySet, counted: Counter) -> dict[str, Any]:
    cancelled = jobs.cancelled()
    return {
        "cancelled": counted(cancelled),
        "cancelled-details": _by_name(cancelled.order_by("-cancelled")),
        "oldest-cancelled": _link(cancelled.order_by("cancelled").first()),
        "most-recent-cancelled": _link(cancelled.order_by("-cancelled").first()),
    }


def _by_name(jobs: JobQuerySet) -> dict[str, dict[str, int]]:
    """How many jobs there are of each function, among the first EXACT."""
    names = TallyOf(jobs.values_list("name", flat=True)[:EXACT])
    return {name: {"count": count} for name, count in sorted(names.items())}


def _oldest_due_age(jobs: JobQuerySet) -> float | None:
    """Seconds since the job that waits longest came due: since its time, or since it was added."""
    due = jobs.due()
    timed = due.exclude(scheduled=None).order_by("scheduled").values_list("scheduled", flat=True)
    untimed = due.filter(scheduled=None).order_by("pk").values_list("added", flat=True)
    since = [moment for moment in (timed.first(), untimed.first()) if moment is not None]
    return round((clock.now(due.db) - min(since)).total_seconds(), 3) if since else None


def _link(job: Job | None) -> dict[str, Any] | None:
    if job is None:
        return None
    try:
        return {"id": job.pk, "url": reverse("admin:async_job_change", args=[job.pk])}
    except NoReverseMatch:
        return {"id": job.pk}


def _estimated_rows() -> int:
    connection = connections[Job.objects.db]
    sql = {
        "postgresql": "SELECT reltuples::bigint FROM pg_class WHERE oid = 'async_job'::regclass",
        "mysql": "SELECT table_rows FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name = 'async_job'",
        "sqlite": "SELECT MAX(id) - MIN(id) + 1 FROM async_job",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    return int(row[0] or 0) if row else 0
