"""How the queue is, in a form that can be turned into JSON."""

from __future__ import annotations

from collections import Counter as TallyOf
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.urls import NoReverseMatch, reverse

from django_async import backlog, census, clock, home, roster
from django_async.errors import NoticesUnavailable
from django_async.models import Error, Job, JobQuerySet, Pause
from django_async.stats import (
    estimate_current_job_completion,
    estimate_queue_completion,
    estimate_rough_queue_completion,
)

OWN_ESTIMATES = (estimate_rough_queue_completion, estimate_queue_completion)
"""They are asked about the database at hand."""


def health(
    estimation_fn: Callable[[], float] = estimate_rough_queue_completion,
    *,
    using: str | None = None,
) -> dict[str, Any]:
    """The state of the queue: 0.7.3's keys, and what an operator needs.

    The jobs of each state are counted up to 100,000, and above that the number is the database's
    estimate; ``due``, ``failing`` and the details stop there. ``approximate`` says whether anything
    is not exact. Jobs are given by id, and by their admin URL where the admin is installed.
    ``running`` is null if the file beside an SQLite database cannot be read. ``using`` is the alias
    of the queue's database. A function of the caller's for the estimate gets no arguments.
    """
    using = home.of_queue(using)
    found, errors = census.take(using), census.size(Error, using)
    jobs = Job.objects.using(using)
    queue: dict[str, Any] = {
        "all-jobs": found.all,
        **_ended("executed", jobs.executed(), found.executed),
        **_pending(found.pending, using),
        **_ended("cancelled", jobs.cancelled(), found.cancelled),
        "discarded": found.discarded,
        "running": _running(using),
        "paused": _paused(using),
        "estimated-completion-current-job": estimate_current_job_completion(),
        "estimated-completion": _estimate(estimation_fn, using),
        "approximate": found.approximate or errors > census.EXACT,
    }
    return {"queue": queue, "errors": {"number": errors}, "parents": _parents(using)}


def _estimate(estimation_fn: Callable[[], float], using: str) -> float:
    for own in OWN_ESTIMATES:
        if own is estimation_fn:
            return own(using=using)
    return estimation_fn()


def _ended(state: str, jobs: JobQuerySet, number: int) -> dict[str, Any]:
    return {
        state: number,
        f"{state}-details": _by_name(jobs.order_by(f"-{state}")),
        f"oldest-{state}": _link(jobs.order_by(state).first()),
        f"most-recent-{state}": _link(jobs.order_by(f"-{state}").first()),
    }


def _pending(number: int, using: str) -> dict[str, Any]:
    waiting = backlog.read(using)
    return {
        "remaining": number,
        "not-executed": number,
        "not-executed-details": _by_name(census.pending_jobs(using)),
        "due": waiting.due,
        "oldest-due-age": _age(waiting.oldest, using),
        "failing": waiting.failing,
    }


def _running(using: str) -> list[dict[str, Any]] | None:
    """What runs, the oldest first; also what a parent runs no longer that has died just now."""
    try:
        return [_describe(entry, using) for entry in roster.entries(using)]
    except NoticesUnavailable:
        return None


def _describe(entry: roster.Entry, using: str) -> dict[str, Any]:
    run = entry.run
    return {
        **_link_to(run.job_id, using),
        "host": entry.parent.host if entry.parent else None,
        "pid": run.pid,
        "since": run.since.isoformat(),
        "seconds": _age(run.since, using),
        "attempt": run.attempt,
        "done": run.done,
        "total": run.total,
        "message": run.message,
        "parent": _life(is_alive=entry.is_alive),
    }


def _parents(using: str) -> list[dict[str, Any]]:
    return [
        {
            "host": parent.host,
            "pid": int(parent.process.split()[0]),
            "workers": parent.workers,
            "since": parent.began.isoformat(),
            "seconds": _age(parent.began, using),
            "parent": _life(is_alive=is_alive),
        }
        for parent, is_alive in roster.parents(using)
    ]


def _life(*, is_alive: bool) -> str:
    return "alive" if is_alive else "dead"


def _paused(using: str) -> list[dict[str, Any]]:
    """By name; null stands for every queue."""
    pauses = Pause.objects.using(using).order_by("queue", "since")
    return [{"queue": one.queue or None, "since": one.since.isoformat()} for one in pauses]


def _age(since: datetime | None, using: str) -> float | None:
    """Seconds from then to now, by the database's clock."""
    return round((clock.now(using) - since).total_seconds(), 3) if since else None


def _by_name(jobs: QuerySet[Job]) -> dict[str, dict[str, int]]:
    """How many jobs there are of each function, among the first EXACT."""
    names = TallyOf(jobs.values_list("name", flat=True)[: census.EXACT])
    return {name: {"count": count} for name, count in sorted(names.items())}


def _link(job: Job | None) -> dict[str, Any] | None:
    return _link_to(job.pk, job._state.db or "default") if job else None


def _link_to(job_id: int, using: str) -> dict[str, Any]:
    # The admin is about one database: its job of this number is another one than that of another.
    if using != home.of_queue() or not getattr(settings, "ROOT_URLCONF", None):
        return {"id": job_id}
    try:
        return {"id": job_id, "url": reverse("admin:async_job_change", args=[job_id])}
    except NoReverseMatch:
        return {"id": job_id}
