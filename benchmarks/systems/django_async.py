"""django-async: the service. With a fork for each job this module is its program, so that what jobs
import is there before the fork, as an application has it that imports them when it starts."""

from __future__ import annotations

import sys

from django.core.management import execute_from_command_line

from benchmarks import jobs
from django_async import schedule
from django_async.api import schedule_many
from django_async.models import Job

WITHOUT_TRANSACTION = {"W4": {"atomic": False}}


def processes(workers: int) -> list[list[str]]:
    return [["-m", "django", "flush_queue", "--forever", "--workers", str(workers), "-v0"]]


def fork_for_each(workers: int) -> list[list[str]]:
    options = ["--forever", "--workers", str(workers), "--max-jobs-per-worker", "1", "-v0"]
    return [["-m", __name__, "flush_queue", *options]]


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


if __name__ == "__main__":
    execute_from_command_line(sys.argv)
