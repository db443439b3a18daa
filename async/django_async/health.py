"""How the queue is, in a form that can be turned into JSON."""

from __future__ import annotations

from collections import Counter as TallyOf
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import NoReverseMatch, reverse

from django_async import backlog, census, clock
from django_async.models import Error, Job, JobQuerySet
from django_async.stats import (
    estimate_current_job_completion,
    estimate_rough_queue_completion,
)


def health(
    estimation_fn: Callable[[], float] = estimate_rough_queue_completion,
) -> dict[str, dict[str, Any]]:
    """The state of the queue: 0.7.3's keys, and what an operator needs.

    The jobs of each state are counted up to 100,000, and above that the number is the database's
    estimate; ``due``, ``failing`` and the details stop there. ``approximate`` says whether anything
    is not exact. Jobs are given by id, and by their admin URL where the admin is installed.
    ``running`` and the estimate of the current job are null: a running job is not visible from
    outside its transaction in this version.
    """
    found, errors = census.take(), census.size(Error)
    jobs = Job.objects.all()
    queue: dict[str, Any] = {
        "all-jobs": found.all,
        **_ended("executed", jobs.executed(), found.executed),
        **_pending(found.pending),
        **_ended("cancelled", jobs.cancelled(), found.cancelled),
        "discarded": found.discarded,
        "running": None,
        "estimated-completion-current-job": estimate_current_job_completion(),
        "estimated-completion": estimation_fn(),
        "approximate": found.approximate or errors > census.EXACT,
    }
    return {"queue": queue, "errors": {"number": errors}}


def _ended(state: str, jobs: JobQuerySet, number: int) -> dict[str, Any]:
    return {
        state: number,
        f"{state}-details": _by_name(jobs.order_by(f"-{state}")),
        f"oldest-{state}": _link(jobs.order_by(state).first()),
        f"most-recent-{state}": _link(jobs.order_by(f"-{state}").first()),
    }


def _pending(number: int) -> dict[str, Any]:
    waiting = backlog.read()
    return {
        "remaining": number,
        "not-executed": number,
        "not-executed-details": _by_name(census.pending_jobs()),
        "due": waiting.due,
        "oldest-due-age": _age(waiting.oldest),
        "failing": waiting.failing,
    }


def _age(since: datetime | None) -> float | None:
    """Seconds from then to now, by the database's clock."""
    return round((clock.now(Job.objects.db) - since).total_seconds(), 3) if since else None


def _by_name(jobs: QuerySet[Job]) -> dict[str, dict[str, int]]:
    """How many jobs there are of each function, among the first EXACT."""
    names = TallyOf(jobs.values_list("name", flat=True)[: census.EXACT])
    return {name: {"count": count} for name, count in sorted(names.items())}


def _link(job: Job | None) -> dict[str, Any] | None:
    if job is None:
        return None
    try:
        return {"id": job.pk, "url": reverse("admin:async_job_change", args=[job.pk])}
    except NoReverseMatch:
        return {"id": job.pk}
