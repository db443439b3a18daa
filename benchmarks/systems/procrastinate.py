"""procrastinate: https://procrastinate.readthedocs.io/en/stable/howto/django.html"""

from __future__ import annotations

from django.db import connection
from procrastinate.contrib.django import app

from benchmarks import jobs


@app.task(name="run")
def run(workload: str, argument: str) -> None:
    jobs.run(workload, argument)


def processes(workers: int) -> list[list[str]]:
    command = ["-m", "django", "procrastinate", "worker", "-c", "1"]
    return [command for _ in range(workers)]


def enqueue(workload: str, argument: str) -> object:
    return run.defer(workload=workload, argument=argument)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    call = {"workload": workload, "argument": argument}
    return run.batch_defer(*([call] * count))


def left() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")
        return int(cursor.fetchone()[0])
