"""System checks: wrong settings, and databases that cannot do all that the queue promises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import conf


def register() -> None:
    """Hook the checks in, when Django's applications are ready."""
    checks.register(check_settings)
    checks.register(check_databases, checks.Tags.database)


def check_settings(
    app_configs: Sequence[AppConfig] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    """``ASYNC`` is as it should be: an Error for everything that is not."""
    found = conf.problems(getattr(settings, "ASYNC", {}))
    return [checks.Error(problem, id="async.E001") for problem in found]


def check_databases(
    app_configs: Sequence[AppConfig] | None = None,
    databases: Iterable[str] | None = None,
    **_: Any,
) -> list[checks.CheckMessage]:
    """What a database that holds a queue lacks (``manage.py check --database ALIAS``)."""
    found: list[checks.CheckMessage] = []
    for alias in databases or ():
        if router.allow_migrate(alias, "async"):
            found += _check_locking(connections[alias]) + _check_journal(connections[alias])
    return found


def _check_locking(connection: BaseDatabaseWrapper) -> list[checks.CheckMessage]:
    if connection.vendor == "sqlite" or connection.features.has_select_for_update_skip_locked:
        return []
    return [
        checks.Warning(
            f"The database {connection.alias!r} has no SELECT … FOR UPDATE SKIP LOCKED: a worker"
            " that meets a job which is running elsewhere waits for it to end instead of taking"
            " another one, and so does deschedule().",
            hint="It came with MariaDB 10.6, MySQL 8.0.1 and PostgreSQL 9.5.",
            id="async.W001",
        )
    ]


def _check_journal(connection: BaseDatabaseWrapper) -> list[checks.CheckMessage]:
    if connection.vendor != "sqlite":
        return []
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        [mode] = cursor.fetchone()
    if mode in ("wal", "memory"):
        return []
    return [
        checks.Warning(
            f"The SQLite database {connection.alias!r} uses the journal mode {mode!r}, where"
            " every commit of a job waits for all readers to finish, and readers wait for it.",
            hint="Set it once, the file remembers: PRAGMA journal_mode=WAL;"
            ' (Django 5.1 and later: "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL;"}).',
            id="async.W002",
        )
    ]
