"""Which database a command of the terminal is about."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from django_async import home

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
