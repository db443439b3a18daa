"""pgqueuer: https://pgqueuer.readthedocs.io; its workers are this module, run as a program."""

from __future__ import annotations

import asyncio
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import asyncpg
from django.db import connection
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver

from benchmarks import jobs

ENTRYPOINT = "run"
_runner = asyncio.Runner()


def processes(workers: int) -> list[list[str]]:
    return [["-m", __name__] for _ in range(workers)]


def install() -> object:
    return _runner.run(_queries().install())


def enqueue(workload: str, argument: str) -> object:
    return _runner.run(_queries().enqueue(ENTRYPOINT, json.dumps([workload, argument]).encode()))


def enqueue_many(workload: str, argument: str, count: int) -> object:
    payload = json.dumps([workload, argument]).encode()
    many = ([ENTRYPOINT] * count, [payload] * count, [0] * count)
    return _runner.run(_queries().enqueue(*many))


def left() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pgqueuer")
        return int(cursor.fetchone()[0])


@cache
def _queries() -> Any:
    """On a connection that is kept."""
    return Queries(AsyncpgDriver(_runner.run(_connect())))


async def _connect() -> Any:
    """Through asyncpg: with psycopg a statement waits for the one that listens, a second long."""
    settings = connection.settings_dict
    place = {name.lower(): settings[name] or None for name in ("HOST", "PORT", "USER", "PASSWORD")}
    return await asyncpg.connect(database=settings["NAME"], **place)


async def _work() -> None:
    queue = PgQueuer(AsyncpgDriver(await _connect()))

    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))  # one job at a time, on one connection
    loop.add_signal_handler(signal.SIGTERM, queue.shutdown.set)

    @queue.entrypoint(ENTRYPOINT)
    async def run(job: Any) -> None:
        await asyncio.to_thread(jobs.run, *json.loads(job.payload))

    await queue.run()


if __name__ == "__main__":
    asyncio.run(_work())
