"""rq: https://python-rq.org/docs/workers/; its pool is this module, run as a program, so that what
jobs import is there before the fork."""

from __future__ import annotations

import sys
from typing import Any

from django.db import connections
from redis import Redis
from rq import Queue
from rq.worker_pool import WorkerPool

from benchmarks import jobs
from benchmarks.settings import REDIS_URL

redis: Any = Redis.from_url(REDIS_URL)
queue = Queue(connection=redis)
OPTIONS = {"result_ttl": 0}


def processes(workers: int) -> list[list[str]]:
    return [["-m", __name__, str(workers)]]


fork_for_each = processes
"""It knows nothing else."""


def enqueue(workload: str, argument: str) -> object:
    return queue.enqueue(jobs.run, workload, argument, **OPTIONS)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    data = Queue.prepare_data(jobs.run, (workload, argument), **OPTIONS)
    return queue.enqueue_many([data for _ in range(count)])


def left() -> int:
    """Waiting, or being run."""
    return len(queue) + len(queue.started_job_registry)


if __name__ == "__main__":
    connections.close_all()
    pool = WorkerPool([queue], connection=redis, num_workers=int(sys.argv[1]))
    pool.start(logging_level="ERROR")
