"""``manage.py pause_queue``: have no job of some queues handed out any more, on all hosts."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from django_async import pausing
from django_async.api import pause_queue, paused_queues
from django_async.management import databases
from django_async.management.arguments import queue_name


class Command(BaseCommand):
    help = "Pauses queues: what runs goes on, and nothing more of them is handed out by anybody."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "queue", nargs="*", type=queue_name, metavar="NAME", help="the queues to pause"
        )
        parser.add_argument("--all", action="store_true", help="every queue, with one pause")
        databases.add_to(parser)

    def handle(self, **options: Any) -> None:
        using = databases.chosen(options["database"])
        with transaction.atomic(using=using):
            for name in names(options):
                pause_queue(name, using=using)
        for name in options["queue"]:
            if not pausing.is_known(name, using):
                self.stderr.write(unknown(name, using))
        self.stdout.write(describe(using))


def unknown(name: str, using: str) -> str:
    """What to say about a queue without jobs: it may be one to come, or a slip of the pen."""
    near = get_close_matches(name, sorted(pausing.known(using)), n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"{name}: no job of it waits, and none ended lately; it is paused all the same.{meant}"


def names(options: dict[str, Any]) -> list[str | None]:
    """Which queues are meant; None for every queue."""
    if bool(options["queue"]) is options["all"]:
        raise CommandError("Name the queues, or give --all: one of the two.")
    return [None] if options["all"] else options["queue"]


def describe(using: str) -> str:
    """What is paused now."""
    found = sorted(name or "every queue" for name in paused_queues(using=using))
    return f"Paused: {', '.join(found)}." if found else "No queue is paused."
