"""``manage.py resume_queue``: undo ``pause_queue``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DEFAULT_DB_ALIAS, transaction

from django_async.api import resume_queue
from django_async.management.commands.pause_queue import database, describe, names


class Command(BaseCommand):
    help = "Resumes queues that were paused by the same name, or by --all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queue", nargs="*", metavar="NAME", help="the queues to resume")
        parser.add_argument(
            "--all", action="store_true", help="undo pause_queue --all; pauses by name stay"
        )
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, metavar="ALIAS")

    def handle(self, **options: Any) -> None:
        using = database(options)
        with transaction.atomic(using=using):
            for name in names(options):
                if not resume_queue(name, using=using):
                    self.stderr.write(f"{name or '--all'}: was not paused by this name.")
        self.stdout.write(describe(using))
