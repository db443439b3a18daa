"""Celery with Redis, acknowledging a task when it is done; see its FAQ on acks_late."""

from __future__ import annotations

from benchmarks.systems import celery
from benchmarks.systems.celery import app, enqueue, enqueue_many, left

__all__ = ["app", "enqueue", "enqueue_many", "left", "processes"]

app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)


def processes(workers: int) -> list[list[str]]:
    return [celery.command(__name__, workers)]
