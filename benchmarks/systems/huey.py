"""huey with Redis: https://huey.readthedocs.io/en/latest/consumer.html"""

from __future__ import annotations

import sys
from pathlib import Path

from huey import RedisHuey

from benchmarks import jobs
from benchmarks.settings import REDIS_URL

huey = RedisHuey("benchmark", url=REDIS_URL, results=False)


@huey.task()
def run(workload: str, argument: str) -> None:
    jobs.run(workload, argument)


def processes(workers: int) -> list[list[str]]:
    consumer = str(Path(sys.executable).with_name("huey_consumer"))
    return [[consumer, f"{__name__}.huey", "-k", "process", "-w", str(workers), "-q"]]


def enqueue(workload: str, argument: str) -> object:
    return run(workload, argument)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    return [run(workload, argument) for _ in range(count)]


def left() -> int:
    """What nobody has taken yet: it does not know more."""
    return int(huey.pending_count())
