"""django-tasks-db: https://pypi.org/project/django-tasks-db/"""

from __future__ import annotations

from django.db import transaction
from django_tasks import task
from django_tasks_db.models import DBTaskResult

from benchmarks import jobs


@task()
def run(workload: str, argument: str) -> None:
    jobs.run(workload, argument)


def processes(workers: int) -> list[list[str]]:
    command = ["-m", "django", "db_worker", "--no-startup-delay", "-v", "0"]
    return [command for _ in range(workers)]


def enqueue(workload: str, argument: str) -> object:
    return run.enqueue(workload, argument)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    with transaction.atomic():
        return [run.enqueue(workload, argument) for _ in range(count)]


def left() -> int:
    return int(DBTaskResult.objects.filter(finished_at=None).count())
