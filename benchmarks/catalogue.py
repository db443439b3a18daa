"""What is compared: how each system is installed and run, and what it promises of a job.

To add a peer: an entry in SYSTEMS, and a module in systems/ with the functions of Adapter there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

DJANGO = "Django==5.2.*"
PSYCOPG = "psycopg[binary]==3.3.*"
ALL_DATABASES = ("postgres", "mysql", "sqlite")
OWN = "django-async"
YARDSTICK = "yardstick"

PACKAGE = re.compile(r"[\[=<>]")

Settings = Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Promises:
    """What a system promises of a job, in few words."""

    joins: str
    """Whether an enqueued job exists only if the caller's transaction commits."""
    atomic: str
    """Whether a job's effects and its mark are committed together."""
    killed: str
    """What becomes of a job whose worker is killed with ``SIGKILL``."""


@dataclass(frozen=True, slots=True)
class System:
    """One of what is compared."""

    name: str
    run: str
    """How it is run, for the reader."""
    module: str
    """In benchmarks.systems."""
    packages: tuple[str, ...] = ()
    """What pip installs, besides Django and the driver of the database."""
    promises: Promises | None = None
    """None where there is no queue."""
    django: str = DJANGO
    legacy: tuple[str, ...] = ()
    """What pip installs for Python 3.6, if that runs it, and the driver's Python only starts it."""
    redis: bool = False
    databases: tuple[str, ...] = ALL_DATABASES
    settings: Settings = field(default=lambda workers: {})
    """Django's settings, by the number of workers."""
    workers_of_its_own: bool = True
    """False where jobs are enqueued and run by nobody else, as the yardstick's."""
    forks: bool = False
    """Whether it can fork for each job."""

    @property
    def environment(self) -> str:
        """The name of its virtual environment."""
        return PACKAGE.split(self.packages[0])[0] if self.packages else OWN


def _apps(*names: str, **settings: Any) -> Settings:
    def given(workers: int) -> Mapping[str, Any]:
        return {"INSTALLED_APPS": [*names, "benchmarks"], **settings}

    return given


def _tasks(app: str, backend: str, *more: str) -> Settings:
    return _apps(app, *more, TASKS={"default": {"BACKEND": backend}})


def _django_q2(workers: int) -> Mapping[str, Any]:
    return {
        "INSTALLED_APPS": ["django_q", "benchmarks"],
        # It logs each task, and saves and prunes each one's result, which halves its rate and more.
        "Q_CLUSTER": {
            "workers": workers,
            "orm": "default",
            "timeout": 30,
            "retry": 60,
            "log_level": "ERROR",
            "save_limit": -1,
        },
    }


NO_JOIN = NOT_ATOMIC = "no"

SYSTEMS = (
    System(
        YARDSTICK,
        "no queue: N forked processes, each in a loop: `atomic()`, the job, one `UPDATE`",
        "yardstick",
        workers_of_its_own=False,
        forks=True,
    ),
    System(
        "pgbench",
        "no queue, no Python: the yardstick's SQL, N clients",
        "pgbench",
        databases=("postgres",),
        workers_of_its_own=False,
    ),
    System(
        OWN,
        "`flush_queue --forever --workers N`",
        "django_async",
        promises=Promises("yes", "yes", "runs again within milliseconds; its effects happen once"),
        settings=_apps("django_async"),
        forks=True,
    ),
    System(
        "django-async 0.7.3",
        "N processes, each of which calls `flush_queue --which i --outof N --jobs 100000` again and"
        " again on one connection, after 50 ms if there was nothing to do",
        "django_async_073",
        promises=Promises(
            "yes",
            "yes",
            "waits until somebody removes the lock file, which stops every later run",
        ),
        legacy=("django-async==0.7.3", "Django==1.11.29", "psycopg2-binary<2.9"),
        databases=("postgres",),
        settings=_apps(),
    ),
    System(
        "huey + Redis",
        "`huey_consumer -k process -w N`",
        "huey",
        ("huey==3.5.4", "redis"),
        Promises(NO_JOIN, NOT_ATOMIC, "lost"),
        redis=True,
    ),
    System(
        "pgqueuer",
        "N processes of `PgQueuer.run()` through asyncpg, batches of 10, one thread each",
        "pgqueuer",
        ("pgqueuer[asyncpg]==1.6.0",),
        Promises(
            "no",
            NOT_ATOMIC,
            "runs again after 31 s, and 3 to 24 finished ones with it",
        ),
        databases=("postgres",),
    ),
    System(
        "dramatiq + Redis",
        "`dramatiq -p N -t 1`",
        "dramatiq",
        ("dramatiq[redis]==2.2.1",),
        Promises(NO_JOIN, NOT_ATOMIC, "the master ends, and the rest waits for a new one"),
        redis=True,
    ),
    System(
        "Celery + Redis",
        "`celery worker --concurrency N`, `CELERY_DB_REUSE_MAX` set",
        "celery",
        ("celery[redis]==5.7.0",),
        Promises(NO_JOIN, NOT_ATOMIC, "lost"),
        redis=True,
    ),
    System(
        "Celery + Redis, late acks",
        "the same with `task_acks_late` and `task_reject_on_worker_lost`",
        "celery_late",
        ("celery[redis]==5.7.0",),
        Promises(NO_JOIN, NOT_ATOMIC, "lost in one of two tries"),
        redis=True,
    ),
    System(
        "procrastinate",
        "N processes of `procrastinate worker -c 1`",
        "procrastinate",
        ("procrastinate[django]==3.10.0",),
        Promises("yes", NOT_ATOMIC, "stays running for ever"),
        databases=("postgres",),
        settings=_apps(
            "procrastinate.contrib.django",
            PROCRASTINATE_IMPORT_PATHS=["benchmarks.systems.procrastinate"],
        ),
    ),
    System(
        "django-q2 (ORM)",
        "`qcluster` with N workers, `save_limit` -1: no results of what went well",
        "django_q2",
        ("django-q2==1.11.1",),
        Promises("yes", NOT_ATOMIC, "runs again after 60 s, and in one of two tries 41 others too"),
        settings=_django_q2,
    ),
    System(
        "django-tasks-db",
        "N processes of `db_worker`, `CONN_MAX_AGE=None`",
        "django_tasks_db",
        ("django-tasks-db[compat]==0.13.0",),
        Promises("yes", NOT_ATOMIC, "stays running for ever"),
        settings=_tasks("django_tasks", "django_tasks_db.DatabaseBackend", "django_tasks_db"),
    ),
    System(
        "django-ox",
        "`ox_worker --processes N`",
        "django_ox",
        ("django-ox[backport]==1.9.1",),
        Promises("yes", NOT_ATOMIC, "runs again after its lease of 300 s"),
        settings=_tasks("django_tasks", "django_ox.backend.OxBackend", "django_ox"),
    ),
    System(
        "rq",
        "a pool of N workers, a fork for each job",
        "rq",
        ("rq==3.0.0",),
        Promises(NO_JOIN, NOT_ATOMIC, "neither lost nor repeated, in the one try"),
        redis=True,
        forks=True,
    ),
)

BY_NAME = {system.name: system for system in SYSTEMS}
BY_MODULE = {system.module: system for system in SYSTEMS}
