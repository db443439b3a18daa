"""How long the admin's dashboard and its list of jobs take with many jobs, and what they read.

    python -m benchmarks.dashboard [--database sqlite|postgres|mysql] [--jobs N] [--reads N]

The queue has N executed jobs (a million), 1,000 due ones, 1,000 for later, and the statistics of
eight days with 5 queues and 50 functions. The pages are asked for through Django's test client, as
somebody who is logged in: that is all that the server does, and nothing of the network. The
database is a scratch one, which is dropped at the end.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from statistics import median, quantiles
from typing import Any

import django
from django.conf import settings
from django.db import connection

from benchmarks.tasks_overhead import ENGINES, scratch

NAME = "django_async_dashboard"
GOAL = 300.0
"""Milliseconds in which the page is to open on PostgreSQL."""

BLOCK = 1000
QUEUES, FUNCTIONS = 5, 50
DASHBOARD, REFRESH, JOBS = "async_dashboard", "async_dashboard_now", "async_job_changelist"
PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "the dashboard, hour": (DASHBOARD, {"window": "hour"}),
    "the dashboard, week": (DASHBOARD, {"window": "week"}),
    "a refresh, hour": (REFRESH, {"window": "hour"}),
    "a refresh, week": (REFRESH, {"window": "week"}),
    "jobs": (JOBS, {}),
    "jobs, page 50": (JOBS, {"p": "50"}),
    "jobs, executed": (JOBS, {"state": "executed"}),
    "jobs, due": (JOBS, {"state": "due"}),
    "jobs, scheduled": (JOBS, {"state": "scheduled"}),
    "jobs, discarded": (JOBS, {"state": "discarded"}),
    "jobs of a function": (JOBS, {"function": "shop.f7.run"}),
    "jobs of a queue that has none": (JOBS, {"queue": "nowhere"}),
    "jobs, an id": (JOBS, {"q": "500000"}),
    "jobs, a word that none has": (JOBS, {"q": "nowhere"}),
}
"""What is asked for: the name of the address, and its parameters."""


def configure(database: str) -> None:
    """Settings of a small project with an admin and this database."""
    auth = "django.contrib.auth"
    settings.configure(
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": scratch(database, NAME)},
        INSTALLED_APPS=[
            *(auth, "django.contrib.contenttypes", "django.contrib.sessions"),
            *("django.contrib.messages", "django.contrib.admin", "django_async"),
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        ROOT_URLCONF="benchmarks.dashboard",
        SECRET_KEY="for benchmarks only",
        STATIC_URL="static/",
        USE_TZ=True,
    )
    django.setup()


def fill(jobs: int) -> None:
    """The jobs and the statistics."""
    from django.utils import timezone

    from django_async.api import schedule_many
    from django_async.models import Job

    made = schedule_many({"function": f"shop.f{n % FUNCTIONS}.run"} for n in range(BLOCK))
    now = timezone.now()
    for number, job in enumerate(made):
        job.started = job.executed = now - timedelta(seconds=number)
    Job.objects.bulk_update(made, ["started", "executed"])
    done = BLOCK
    while done < jobs:
        done += _double(min(done, jobs - done))
    for later in (None, timedelta(days=1)):
        schedule_many(
            {"function": f"shop.f{n % FUNCTIONS}.run", "run_after": later, "priority": n % 5}
            for n in range(BLOCK)
        )
    _fill_statistics()
    tables = "async_job, async_statistic"
    sql = {"mysql": f"ANALYZE TABLE {tables}", "postgresql": f"VACUUM ANALYZE {tables}"}
    with connection.cursor() as cursor:
        cursor.execute(sql.get(connection.vendor, "ANALYZE"))


def _double(number: int) -> int:
    """Copy so many rows inside the database."""
    from django_async.models import Job

    fields = [field for field in Job._meta.concrete_fields if not field.primary_key]
    names = ", ".join(connection.ops.quote_name(field.attname) for field in fields)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO async_job ({names})"
            f" SELECT {names} FROM async_job ORDER BY id LIMIT {number}"
        )
    return number


def _fill_statistics() -> None:
    """Eight days, as they are after merging."""
    from django_async.ledger import as_rows
    from django_async.models import Statistic

    Statistic.objects.bulk_create(as_rows(_sums()), batch_size=500)


def _sums() -> Iterator[Any]:
    from django_async import clock, histogram
    from django_async.ledger import Sum, slot
    from django_async.slots import ALL, COARSE, FINE, FUNCTION, LONG, QUEUE

    random.seed(1)
    labels = [
        (ALL, ""),
        *((QUEUE, f"queue {number}") for number in range(QUEUES)),
        *((FUNCTION, f"shop.f{number}.run") for number in range(FUNCTIONS)),
    ]
    now = clock.utc_now("default")
    for width, first, number in ((FINE, 0, 24), (COARSE, 2, 26), (LONG, 4, 32)):
        for index in range(first, number):
            begin = slot(now - timedelta(seconds=width * index), width)
            for scope, label in labels:
                found = Sum()
                found.outcomes.update(executed=90, failed=3)
                found.seconds = 9.0
                for _ in range(93):
                    found.runs[histogram.bucket(random.lognormvariate(-3, 1))] += 1
                    found.waits[histogram.bucket(random.lognormvariate(-4, 1))] += 1
                yield (width, begin, scope, label), found


def measure(reads: int) -> None:
    """Print a table of milliseconds, and what PostgreSQL reads from end to end."""
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("root"))
    print("| ms | first | median | 95 % | read from end to end |\n| --- | --- | --- | --- | --- |")
    worst = 0.0
    for name, (view, parameters) in PAGES.items():
        look = partial(client.get, reverse(f"admin:{view}"), parameters)
        times = list(_times(look, reads))
        first, middle = times[0], median(times[1:])
        worst = max(worst, middle)
        high = quantiles(times[1:], n=20, method="inclusive")[18]
        print(f"| {name} | {first:.0f} | {middle:.0f} | {high:.0f} | {_read_whole(look)} |")
    print(f"\nThe goal is a median under {GOAL:g} ms; the slowest is {worst:.0f} ms.")


def _times(work: Callable[[], Any], reads: int) -> Iterator[float]:
    for _ in range(reads + 1):
        began = time.perf_counter()
        assert work().status_code == 200
        yield (time.perf_counter() - began) * 1000


def _read_whole(work: Callable[[], Any]) -> str:
    if connection.vendor != "postgresql":
        return "not asked"
    return ", ".join(sorted(_scanned(work))) or "nothing"


def _scanned(work: Callable[[], Any]) -> set[str]:
    """The tables that PostgreSQL plans to read from end to end, with how many rows it expects."""
    found: set[str] = set()

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT") and "async_" in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                found.update(_seq_scans(cursor.fetchone()[0]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        work()
    return found


def _seq_scans(plan: Any) -> Iterator[str]:
    plan = json.loads(plan) if isinstance(plan, str) else plan
    nodes = [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node["Node Type"] == "Seq Scan":
            yield f"{node['Relation Name']} ({node['Plan Rows']:.0f} rows)"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=ENGINES, default="postgres")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--reads", type=int, default=20)
    options = parser.parse_args()
    configure(options.database)
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        fill(options.jobs)
        measure(options.reads)
    finally:
        connection.creation.destroy_test_db(NAME, verbosity=0)


if settings.configured:  # as the addresses of the project that main() configures
    from django.contrib import admin
    from django.urls import path

    urlpatterns = [path("admin/", admin.site.urls)]

if __name__ == "__main__":
    main()
