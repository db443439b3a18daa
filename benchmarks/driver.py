"""What is measured of one system, in a process of its virtual environment.

``python -m benchmarks.driver OPERATION [JSON]`` prints what came out as JSON, on its last line.
BENCHMARK_SYSTEM, _DATABASE, _REDIS, _WORKERS and _TALLY say of what.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

import django
from django.core.management.color import no_style
from django.db import connection, connections, transaction

from benchmarks import processes, tally
from benchmarks.catalogue import BY_MODULE, OWN

SYSTEM = BY_MODULE[os.environ["BENCHMARK_SYSTEM"]]
WORKERS = int(os.environ["BENCHMARK_WORKERS"])
DEADLINE = 60.0
"""Seconds after which a queue that does not go on has failed."""
SAMPLE = {"W3": 2, "W4": 2, "W4 in a transaction": 2}
"""Jobs a worker that tell how many are needed; of other workloads, SAMPLE_AT_LEAST in all."""
SAMPLE_AT_LEAST = 100
LARGEST = 50_000
MANY = 10_000
LOOKS = 20
"""At the memory, while it may grow."""


def prepare() -> None:
    """Make the database."""
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    if connection.vendor == "sqlite":
        _execute("PRAGMA journal_mode=WAL")  # stays in the file
    if hasattr(_adapter(), "install"):
        _adapter().install()


def describe() -> str:
    """The server of the database."""
    from benchmarks import machine

    return machine.describe_database(connection)


def drop() -> None:
    """Drop the database again."""
    empty()
    connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


def drain(workloads: list[str], seconds: float) -> dict[str, Any]:
    """Jobs a second of each workload, over about so many seconds; how the CPU time is split."""
    if not SYSTEM.workers_of_its_own:
        empty()
        return {one: _bare(one, seconds) for one in workloads}
    with _service() as group:
        return {one: _drained(group, one, seconds) for one in workloads}


def services(numbers: list[int], seconds: float) -> dict[str, dict[str, float]]:
    """W1 jobs a second and their CPU time, by the number of services that share the workers; of the
    yardstick, by the number of processes that fork them."""
    if not SYSTEM.workers_of_its_own:
        return {
            str(number): _apart([()] * number, WORKERS // number, seconds) for number in numbers
        }
    found = {}
    for number in numbers:
        with _service(_adapter().processes(WORKERS // number) * number) as group:
            found[str(number)] = _drained(group, "W1", seconds)
    return found


def hosts(numbers: list[int], seconds: float) -> dict[str, dict[str, float]]:
    """The same by the number of hosts, with as many workers on each."""
    from benchmarks.hosts import commands

    if not SYSTEM.workers_of_its_own:
        return {str(number): _apart(commands(number), WORKERS, seconds) for number in numbers}
    found = {}
    for number in numbers:
        with _service(_adapter().processes(WORKERS) * number, commands(number)) as group:
            found[str(number)] = _drained(group, "W1", seconds)
    return found


def _apart(places: Sequence[Sequence[str]], workers: int, seconds: float) -> dict[str, float]:
    """What processes come to in all, one in each place, which forks so many workers. The CPU time
    of the server, which each of them sees, is that of all."""
    empty()
    command = [sys.executable, "-m", "benchmarks.driver", "part", json.dumps({"seconds": seconds})]
    parts = [
        subprocess.Popen(
            [*place, *command], env=_env_of_part(one, workers), stdout=subprocess.PIPE, text=True
        )
        for one, place in enumerate(places)
    ]
    said = [part.communicate()[0] for part in parts]
    if failed := [part.returncode for part in parts if part.returncode]:
        raise RuntimeError(f"Parts of the yardstick failed, with exit codes {failed}.")
    found = [json.loads(text.strip().splitlines()[-1]) for text in said]
    return {
        "rate": sum(one["rate"] for one in found),
        "workers": mean(one["workers"] for one in found),
        "server": mean(one["server"] for one in found) / len(places),
    }


def _env_of_part(one: int, workers: int) -> dict[str, str]:
    folder = Path(os.environ["BENCHMARK_TALLY"], str(one))
    folder.mkdir()
    place = {"BENCHMARK_TALLY": str(folder), "BENCHMARK_WORKERS": str(workers)}
    return {**os.environ, **place}


def part(seconds: float) -> dict[str, float]:
    """Of a yardstick in several processes, this one's share."""
    found: dict[str, float] = _adapter().measure("W1", WORKERS, seconds)
    return found


def _bare(workload: str, seconds: float) -> dict[str, float] | None:
    try:
        found: dict[str, float] = _adapter().measure(workload, WORKERS, seconds)
    except NotImplementedError:
        return None
    return found


def _drained(group: processes.Group, workload: str, seconds: float) -> dict[str, float]:
    sample = max(SAMPLE.get(workload, 0) * WORKERS, 0 if workload in SAMPLE else SAMPLE_AT_LEAST)
    if SYSTEM.module == "rq":
        sample = min(sample, 5 * WORKERS)
    measured = _timed(group, workload, sample)
    for _ in range(3):  # with the few jobs of the sample it may be far slower
        count = min(LARGEST, max(sample, round(measured["rate"] * seconds)))
        measured = _timed(group, workload, count)
        if count in (sample, LARGEST) or count / measured["rate"] > seconds / 2:
            break
    return measured


def _timed(group: processes.Group, workload: str, count: int) -> dict[str, float]:
    """What the queue knew to be done by the end of the last job, since the start of the first.

    The workers are there and have their connections; they stand still while jobs are enqueued.
    """
    rows = _rows()
    with group.held():
        _enqueue_many(workload, count)
        tally.clear()
        before = _cpu(group)
    known = count - _wait_for_end(group, count)
    after = _cpu(group)
    done = tally.read()
    if _rows() - rows != (count if _writes(workload) else 0):
        raise RuntimeError(f"{count} jobs left {_rows() - rows} rows.")
    cpu = {who: (after[who] - before[who]) / count for who in after}
    return {"rate": known / (done.last - done.first), "jobs": count, **cpu}


def _wait_for_end(group: processes.Group, count: int) -> int:
    """Wait until all jobs were run, and the queue knows it; of how many it did not at first."""
    seen, deadline = -1, 0.0
    while (jobs := tally.read().jobs) < count:
        if jobs != seen:
            seen, deadline = jobs, time.monotonic() + DEADLINE
        elif time.monotonic() > deadline:
            raise TimeoutError(f"{jobs} of {count} jobs were run, and no more. {_said(group)}")
        group.check()
        time.sleep(0.005)
    left: int = _adapter().left()
    processes.wait_for(lambda: not _adapter().left(), DEADLINE)
    return left


def _rows() -> int:
    from benchmarks.models import Line

    return Line.objects.count()


def _writes(workload: str) -> bool:
    from benchmarks.jobs import WRITES

    return workload in WRITES


def _cpu(group: processes.Group) -> dict[str, float]:
    """CPU seconds so far; with one process a worker, and no parent, all are the workers'."""
    children = group.children()
    roots = [root.pid for root in group.roots]
    alone = not children or (len(roots) > 1 and SYSTEM.name != OWN)
    return {
        "parent": 0.0 if alone else processes.cpu_seconds(roots),
        "workers": processes.cpu_seconds(group.pids() if alone else children),
        "server": processes.server_cpu_seconds(),
    }


def enqueue(count: int) -> dict[str, float]:
    """Jobs a second: each in a commit of its own, many at once, and all in one transaction."""
    each = getattr(_adapter(), "enqueue_each", _enqueue_each)
    shapes: dict[str, Callable[[], object]] = {
        "one": partial(each, "W1", "", count, inside=False),
        "inside": partial(each, "W1", "", count, inside=True),
        "many": partial(_enqueue_many, "W1", MANY),
    }
    _rate(1, lambda: _adapter().enqueue("W1", ""))  # the first one loads what it needs
    return {name: _rate(MANY if name == "many" else count, do) for name, do in shapes.items()}


def _enqueue_each(workload: str, argument: str, count: int, inside: bool) -> None:
    with transaction.atomic() if inside else nullcontext():
        for _ in range(count):
            _adapter().enqueue(workload, argument)


def latency(seconds: float, idle: float, probes: int) -> dict[str, Any]:
    """How soon a job starts: see latency.py. So many probes come after a silence each, where that
    is promised."""
    from benchmarks.latency import after_silence, measure

    with _service() as group:
        found = measure(_adapter(), group, partial(_drained, group, "W1", seconds), idle)
        if SYSTEM.name == OWN:
            found["silence"] = after_silence(_adapter(), group, probes)
        return found


def memory(count: int) -> dict[str, Any]:
    """MB, after so many jobs: PSS of the parents, and of each worker; what a worker has alone."""
    with _service() as group:
        _timed(group, "W1", count)
        roots = [root.pid for root in group.roots]
        children = group.children()
        return {
            "parents": [processes.pss(pid) for pid in roots],
            "children": [processes.pss(pid) for pid in children],
            "private": [processes.private(pid) for pid in children or roots],
        }


def forks(seconds: float) -> dict[str, float]:
    """Jobs a second with a fork for each; of the bare loop, also with one child at a time."""
    from benchmarks.forks import by_loop, by_queue, rate

    if not SYSTEM.workers_of_its_own:
        empty()
        atonce = {"rate": WORKERS, "alone": 1}
        return {name: rate(by_loop(n), WORKERS, seconds) for name, n in atonce.items()}
    with _service(_adapter().fork_for_each(WORKERS)) as group:
        return {"rate": rate(by_queue(_adapter(), group), WORKERS, seconds)}


def growth(jobs: int) -> dict[str, list[float]]:
    """MB that the parent occupies, and a worker on average, before so many jobs and as they go."""
    found: dict[str, list[float]] = {"jobs": [], "parent": [], "worker": []}
    with _service() as group:
        for done in range(0, jobs + 1, max(1, jobs // LOOKS)):
            if done:
                _timed(group, "W2", done - int(found["jobs"][-1]))
            children = group.children()
            found["jobs"].append(done)
            found["parent"].append(processes.rss(group.roots[0].pid))
            found["worker"].append(sum(map(processes.rss, children)) / len(children))
    return found


@contextmanager
def _service(
    commands: Sequence[Sequence[str]] | None = None, places: Sequence[Sequence[str]] = ((),)
) -> Iterator[processes.Group]:
    """The system's workers, each of which has run a first job."""
    empty()
    log = Path(os.environ["BENCHMARK_TALLY"], "workers.log")
    with processes.started(commands or _adapter().processes(WORKERS), log, places) as group:
        _warm(group)
        yield group


def _warm(group: processes.Group) -> None:
    for _ in range(5):
        before = tally.read().jobs
        _enqueue_many("warm", 4 * WORKERS)
        _wait_for_end(group, before + 4 * WORKERS)
        if tally.read().processes >= WORKERS:
            return


def _said(group: processes.Group) -> str:
    return f"They said: {group.log.read_text(errors='replace').strip()[-1000:]}"


def _enqueue_many(workload: str, count: int) -> None:
    from benchmarks.jobs import ARGUMENTS

    _adapter().enqueue_many(workload, ARGUMENTS.get(workload, ""), count)


def _adapter() -> Any:
    return import_module(f"benchmarks.systems.{SYSTEM.module}")


def empty() -> None:
    """Nothing of what was before is left: rows, stale statistics, messages, tallies."""
    tables = [
        name for name in connection.introspection.table_names() if name != "django_migrations"
    ]
    flush = connection.ops.sql_flush(no_style(), tables, reset_sequences=True)  # MariaDB truncates
    connection.ops.execute_sql_flush(flush)
    if connection.vendor != "mysql":
        _execute("ANALYZE")
    if SYSTEM.redis:
        _empty_redis()
    folder = Path(os.environ["BENCHMARK_TALLY"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tally.clear()


def _empty_redis() -> None:
    """The number of the Redis database is one that was empty when the benchmark began."""
    from redis import Redis  # only where the system has it

    client: Any = Redis.from_url(os.environ["BENCHMARK_REDIS"])
    client.flushdb()
    client.close()


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _rate(count: int, work: Callable[[], object]) -> float:
    empty()
    began = time.monotonic()
    work()
    return count / (time.monotonic() - began)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "prepare": prepare,
    "describe": describe,
    "drop": drop,
    "drain": drain,
    "services": services,
    "hosts": hosts,
    "part": part,
    "enqueue": enqueue,
    "latency": latency,
    "memory": memory,
    "growth": growth,
    "forks": forks,
}

if __name__ == "__main__":
    django.setup()
    result = OPERATIONS[sys.argv[1]](**json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}"))
    connections.close_all()
    print(f"\n{json.dumps(result)}")
