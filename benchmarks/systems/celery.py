"""Celery with Redis: https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html"""

from __future__ import annotations

from typing import Any

from celery import Celery

from benchmarks import jobs
from benchmarks.settings import REDIS_URL

app = Celery("benchmark", broker=REDIS_URL)
app.conf.update(task_ignore_result=True, CELERY_DB_REUSE_MAX=1_000_000_000)


@app.task(name="run")
def run(workload: str, argument: str) -> None:
    jobs.run(workload, argument)


def processes(workers: int) -> list[list[str]]:
    return [command(__name__, workers)]


def command(module: str, workers: int) -> list[str]:
    """The worker of the application in this module."""
    return ["-m", "celery", "-A", module, "worker", "-c", str(workers), "-l", "ERROR"]


def enqueue(workload: str, argument: str) -> object:
    return run.delay(workload, argument)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    with app.producer_pool.acquire(block=True) as producer:
        return [run.apply_async((workload, argument), producer=producer) for _ in range(count)]


def left() -> int:
    """Waiting, or taken and not acknowledged."""
    with app.connection_for_write() as opened:
        client: Any = opened.default_channel.client
        return int(client.llen("celery") + client.hlen("unacked"))
