"""django-q2 with the ORM as its broker: https://django-q2.readthedocs.io/en/master/brokers.html"""

from __future__ import annotations

from django.db import transaction
from django_q.models import OrmQ
from django_q.tasks import async_task

from benchmarks import jobs


def processes(workers: int) -> list[list[str]]:
    return [["-m", "django", "qcluster"]]  # the number stands in the settings


def enqueue(workload: str, argument: str) -> object:
    return async_task(jobs.run, workload, argument)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    with transaction.atomic():
        return [async_task(jobs.run, workload, argument) for _ in range(count)]


def left() -> int:
    """Waiting, or taken and not acknowledged."""
    return int(OrmQ.objects.count())
