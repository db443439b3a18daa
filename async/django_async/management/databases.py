"""Which databases a command of the terminal is about."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from django_async import errors, home, runner

DEFAULT = "by default the one to which the routers send jobs"


def add_to(parser: CommandParser) -> None:
    """Add the option that names one."""
    parser.add_argument("--database", metavar="ALIAS", help=f"the queue's database; {DEFAULT}")


def chosen(named: str | None, returncode: int = 1) -> str:
    """The alias that is meant: the one that was named, or else the queue's. Raises CommandError,
    with that exit status, if there is no such database."""
    alias = home.of_queue() if named is None else named
    if alias not in connections:
        known = ", ".join(connections)
        raise CommandError(
            f"There is no database {alias!r} in DATABASES, which has: {known}.",
            returncode=returncode,
        )
    return alias


def all_chosen(named: list[str] | str | None) -> list[str]:
    """The aliases that are meant, each once. (One alone may come from call_command as it is.)"""
    aliases: list[Any] = [named] if isinstance(named, str) else named or [None]
    return [chosen(alias) for alias in dict.fromkeys(aliases)]


def refuse_impossible(using: str, workers: int) -> None:
    """Say at once what cannot work: jobs in a transaction, workers with another database."""
    connection = connections[using]
    try:
        runner.refuse_open_transaction(using)
    except errors.JobNotRunnable as error:
        raise CommandError(str(error)) from error
    if workers and connection.in_atomic_block:
        raise CommandError(
            "Workers cannot see what this transaction has not committed (a TestCase?):"
            " use a TransactionTestCase, or leave out --workers."
        )
    if workers and is_in_memory(connection):
        raise CommandError(
            "Workers cannot share an in-memory SQLite database: use a file (in tests:"
            ' "TEST": {"NAME": BASE_DIR / "test.sqlite3"}), or leave out --workers.'
        )


def is_in_memory(connection: Any) -> bool:
    """Whether it is a database that no other process can see."""
    return bool(connection.vendor == "sqlite" and connection.is_in_memory_db())
