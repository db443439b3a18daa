"""django-ox: https://pypi.org/project/django-ox/"""

from __future__ import annotations

from django_ox.bulk import enqueue_many as ox_enqueue_many
from django_ox.models import OxTask
from django_tasks import task

from benchmarks import jobs


@task()
def run(workload: str, argument: str) -> None:
    jobs.run(workload, argument)


def processes(workers: int) -> list[list[str]]:
    return [["-m", "django", "ox_worker", "--processes", str(workers), "-v", "0"]]


def enqueue(workload: str, argument: str) -> object:
    return run.enqueue(workload, argument)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    return ox_enqueue_many(run, (((workload, argument), {}) for _ in range(count)))


def left() -> int:
    return int(OxTask.objects.filter(status__in=["READY", "RUNNING"]).count())
