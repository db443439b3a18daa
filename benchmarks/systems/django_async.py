"""django-async: the service."""

from __future__ import annotations

from benchmarks import jobs
from django_async import schedule
from django_async.api import schedule_many
from django_async.models import Job

WITHOUT_TRANSACTION = {"W4": {"atomic": False}}


def processes(workers: int) -> list[list[str]]:
    return [["-m", "django", "flush_queue", "--forever", "--workers", str(workers), "-v0"]]


def fork_for_each(workers: int) -> list[list[str]]:
    return [[*command, "--max-jobs-per-worker", "1"] for command in processes(workers)]


def enqueue(workload: str, argument: str) -> object:
    return schedule(jobs.run_inside, [workload, argument], meta=WITHOUT_TRANSACTION.get(workload))


def enqueue_many(workload: str, argument: str, count: int) -> object:
    job = {
        "function": jobs.run_inside,
        "args": [workload, argument],
        "meta": WITHOUT_TRANSACTION.get(workload),
    }
    return schedule_many(job for _ in range(count))


def left() -> int:
    return Job.objects.pending().count()
