"""dramatiq with Redis: https://dramatiq.io/guide.html"""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks import jobs
from benchmarks.settings import REDIS_URL

broker = RedisBroker(url=REDIS_URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def run(workload: str, argument: str) -> None:
    jobs.run(workload, argument)


def processes(workers: int) -> list[list[str]]:
    return [["-m", "dramatiq", __name__, "-p", str(workers), "-t", "1"]]


def enqueue(workload: str, argument: str) -> object:
    return run.send(workload, argument)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    return [run.send(workload, argument) for _ in range(count)]


def left() -> int:
    """Messages, waiting or in a worker's hand; they leave the hash when they are acknowledged."""
    return int(broker.client.hlen("dramatiq:default.msgs"))
