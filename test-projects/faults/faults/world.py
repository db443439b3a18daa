"""A fresh database with an empty queue, and the processes that work on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection, connections

from django_async.api import schedule_many
from django_async.models import Job
from faults import injection, ledger, probes
from faults.place import FOLDER
from faults.processes import DEADLINE, Flush, flushing, kill, survivors, wait_until
from faults.scale import Violation

PASSES = 20
"""A queue that has not come to rest after so many never will."""

SLOWEST = 50
"""Jobs a second that the slowest machine gets through."""

GRACE = 1.0
"""Seconds after a scenario in which processes and sessions end."""


@dataclass
class World:
    """Where scenarios happen."""

    database: str
    folder: Path

    def empty(self) -> None:
        """Forget all jobs and what they did; nobody may be at work any more."""
        connections.close_all()
        probes.end_sessions()
        tables = [model._meta.db_table for model in apps.get_models()]
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables))
        ledger.forget()
        injection.disarm()

    def schedule(
        self, function: Callable[..., Any], arguments: Sequence[Any], **more: Any
    ) -> list[int]:
        """Schedule a call with each of these lists of arguments; the ids of the jobs."""
        jobs = schedule_many(
            {"function": function, "args": list(args), **more} for args in arguments
        )
        return [job.pk for job in jobs]

    def flush(
        self, *arguments: str, workers: int = 4, name: str = "flush", **environment: str
    ) -> AbstractContextManager[Flush]:
        """Within the block, a ``flush_queue`` runs; those at the same time have different names."""
        output = self.folder / f"{name}.log"
        return flushing(output, *arguments, workers=workers, **environment)

    def service(
        self,
        *arguments: str,
        workers: int = 4,
        name: str = "service",
        before: Sequence[str] = (),
        **environment: str,
    ) -> AbstractContextManager[Flush]:
        """The same of a ``flush_queue --forever``, by which the starts of its jobs are signed; with
        this before its command."""
        output = self.folder / f"{name}.log"
        environment = {"FAULTS_SERVICE": name, **environment}
        options = "--forever", *arguments
        return flushing(output, *options, workers=workers, before=before, **environment)

    def drain(self, *, workers: int = 4) -> None:
        """Flush until no job is left that is due or has failed: without faults, all must go."""
        for _ in range(PASSES):
            ledger.bring_forward()
            if not Job.objects.due().exists():
                return
            with self.flush(workers=workers) as flush:
                flush.end(0, 1, within=self.patience)
        raise Violation(f"{Job.objects.due().count()} jobs are still due after {PASSES} passes")

    @property
    def patience(self) -> float:
        """Seconds after which a pass hangs, over as many jobs as are due."""
        return DEADLINE + Job.objects.due().count() / SLOWEST

    def check(self) -> None:
        """What holds after every scenario: the ledger is exact, and nobody is left behind."""
        wait_until(lambda: not survivors(), f"the end of {survivors()}", within=GRACE)
        wait_until(
            lambda: not probes.open_transactions(),
            f"the end of {probes.open_transactions()}",
            within=GRACE,
        )
        if problems := ledger.problems():
            raise Violation("; ".join(problems))

    def clear_away(self) -> None:
        """Leave nothing to the next scenario."""
        for pid in survivors():
            kill(pid)
        connections.close_all()


@contextmanager
def world() -> Iterator[World]:
    """Within the block, the default database exists and is migrated; it is dropped at the end."""
    _drop()
    create()
    try:
        yield World(settings.DATABASE, FOLDER)
    finally:
        connections.close_all()
        _drop()


def _name() -> str:
    return str(connection.settings_dict["NAME"])


def create() -> None:
    """Make the default database, with its tables."""
    if connection.vendor == "postgresql":
        _on_server(f'CREATE DATABASE "{_name()}"')
    elif connection.vendor == "mysql":
        _on_server(f"CREATE DATABASE `{_name()}` CHARACTER SET utf8mb4")
    call_command("migrate", verbosity=0, interactive=False, run_syncdb=True)


def _drop() -> None:
    if connection.vendor == "postgresql":
        _on_server(f'DROP DATABASE IF EXISTS "{_name()}" WITH (FORCE)')
    elif connection.vendor == "mysql":
        _on_server(f"DROP DATABASE IF EXISTS `{_name()}`")
    else:
        for suffix in ("", "-wal", "-shm"):
            Path(_name() + suffix).unlink(missing_ok=True)


def _on_server(statement: str) -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute(statement)
