"""What a task of Django's framework costs, against the same job through schedule().

    python -m benchmarks.tasks_overhead [--database sqlite|postgres|mysql] [--jobs N] [--rounds N]

A job inserts one row through the ORM. Rounds alternate between the two ways; each enqueues all jobs
one by one, in autocommit, and then runs them with `flush_queue`, in one process. Django 6.0 or
newer (or the backport) is needed. The database is a scratch one, which is dropped at the end.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection

NAME = "django_async_tasks_overhead"
ENGINES = {"sqlite": "sqlite3", "postgres": "postgresql", "mysql": "mysql"}
HOSTS = {"postgres": ("POSTGRES", "5432", "postgres"), "mysql": ("MYSQL", "3306", "root")}
GOAL = 10.0
"""Percent."""


def insert(number: int) -> int:
    """The job."""
    Row(number=number).save()
    return number


if settings.configured:  # as when this module is imported by its name
    from django.db import models

    from django_async.tasks import task

    class Row(models.Model):
        """What a job writes."""

        number = models.IntegerField()

        class Meta:
            app_label = "tasks_overhead"

        def __str__(self) -> str:
            return str(self.number)

    @task
    def insert_as_task(number: int) -> int:
        """The same as a task."""
        return insert(number)


def scratch(database: str, name: str) -> dict[str, Any]:
    """What Django has to know of a scratch database of this name."""
    name = str(Path(__file__).with_name(f"{name}.sqlite3")) if database == "sqlite" else name
    place: dict[str, Any] = {"ENGINE": f"django.db.backends.{ENGINES[database]}", "NAME": name}
    if database in HOSTS:
        prefix, port, user = HOSTS[database]
        place["HOST"] = os.environ.get(f"{prefix}_HOST", "127.0.0.1")
        place["PORT"] = os.environ.get(f"{prefix}_PORT", port)
        place["USER"] = os.environ.get(f"{prefix}_USER", user)
        place["PASSWORD"] = os.environ.get(f"{prefix}_PASSWORD", "")
    return {**place, "TEST": {"NAME": name}}


def configure(database: str) -> None:
    """Settings of a small project with this database."""
    settings.configure(
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": scratch(database, NAME)},
        INSTALLED_APPS=["django_async"],
        TASKS={"default": {"BACKEND": "django_async.tasks.AsyncBackend"}},
        USE_TZ=True,
    )
    django.setup()


def ways() -> dict[str, Callable[[int], object]]:
    """How a job gets into the queue."""
    from benchmarks import tasks_overhead as module  # where workers find it: this one is __main__
    from django_async import schedule

    return {
        "schedule()": lambda number: schedule(module.insert, [number]),
        "enqueue()": lambda number: module.insert_as_task.enqueue(number),
    }


def timed(put: Callable[[int], object], jobs: int) -> tuple[float, float]:
    """Microseconds for each job to be enqueued, and to be run."""
    began = time.perf_counter()
    for number in range(jobs):
        put(number)
    enqueued = time.perf_counter()
    call_command("flush_queue", stdout=io.StringIO(), verbosity=0)
    ran = time.perf_counter()
    return (enqueued - began) / jobs * 1e6, (ran - enqueued) / jobs * 1e6


def measure(jobs: int, rounds: int) -> None:
    """Print a table with the medians, and by how much a task costs more."""
    from benchmarks.tasks_overhead import Row

    with connection.schema_editor() as editor:
        editor.create_model(Row)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways()}
    order = list(ways().items())
    for _ in range(rounds + 1):  # the first one warms up
        for name, put in order:
            found[name].append(timed(put, jobs))
        order.reverse()
    rows = {name: times[1:] for name, times in found.items()}
    print("| µs a job | enqueue | run | both |\n| --- | --- | --- | --- |")
    for name, times in rows.items():
        both = [(enqueue, run, enqueue + run) for enqueue, run in times]
        medians = (statistics.median(column) for column in zip(*both, strict=True))
        print(f"| {name} | {' | '.join(f'{median:.0f}' for median in medians)} |")
    print(f"\n{told(ratios(*rows.values()))}")


def ratios(
    usual: Sequence[tuple[float, float]], task: Sequence[tuple[float, float]]
) -> list[float]:
    """By how much more a task costs, in percent, in each round: the machine's own pace changes from
    round to round by more than that."""
    return [100 * (sum(two) / sum(one) - 1) for one, two in zip(usual, task, strict=True)]


def told(percents: Sequence[float]) -> str:
    """What came out, in a sentence."""
    low, _, high = statistics.quantiles(percents, n=4, method="inclusive")
    middle = statistics.median(percents)
    return (
        f"A task costs {middle:.1f} % more (half of the rounds: {low:.1f} to {high:.1f} %;"
        f" goal: under {GOAL:g} %)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=ENGINES, default="sqlite")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    configure(options.database)
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        measure(options.jobs, options.rounds)
    finally:
        connection.creation.destroy_test_db(NAME, verbosity=0)


if __name__ == "__main__":
    main()
