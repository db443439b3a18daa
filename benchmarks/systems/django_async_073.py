"""django-async 0.7.3, of 2017. Python 3.6 runs its workers, and enqueues for the driver, which
imports nothing of it: benchmarks/legacy. This module is the program that goes on as that Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

from django.db import connection

from benchmarks.environments import LEGACY

PYTHON = str(LEGACY / "bin" / "python")
SETTINGS = "benchmarks.legacy.settings"


def processes(workers: int) -> list[list[str]]:
    worker = ["-m", __name__, "-m", "benchmarks.legacy.worker"]
    return [[*worker, str(which), str(workers)] for which in range(workers)]


def install() -> object:
    """By its own migration."""
    command = [PYTHON, "-m", "django", "migrate", "async", "-v0"]
    return subprocess.run(command, env=_environ(), check=True)


def enqueue(workload: str, argument: str) -> object:
    return enqueue_each(workload, argument, 1)


def enqueue_many(workload: str, argument: str, count: int) -> object:
    return enqueue_each(workload, argument, count, inside=True)


def enqueue_each(workload: str, argument: str, count: int, inside: bool = False) -> object:
    enqueuer = _enqueuer()
    assert enqueuer.stdin
    assert enqueuer.stdout
    print(json.dumps([workload, argument, count, inside]), file=enqueuer.stdin, flush=True)
    if not (answer := enqueuer.stdout.readline()):
        raise RuntimeError(f"0.7.3 could not enqueue: {enqueuer.communicate()[1].strip()}")
    return answer


def left() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM async_job WHERE executed IS NULL AND cancelled IS NULL"
        )
        return int(cursor.fetchone()[0])


@cache
def _enqueuer() -> subprocess.Popen[str]:
    """It ends with the driver, which holds the other end of its standard input."""
    return subprocess.Popen(
        [PYTHON, "-m", "benchmarks.legacy.enqueuer"],
        env=_environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _environ() -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS}


if __name__ == "__main__":
    os.execve(PYTHON, [PYTHON, *sys.argv[1:]], _environ())
