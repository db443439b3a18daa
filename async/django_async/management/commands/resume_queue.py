"""``manage.py resume_queue``: undo ``pause_queue``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from django_async.api import resume_queue
from django_async.management import databases
from django_async.management.arguments import queue_name
from django_async.management.commands.pause_queue import describe, names


class Command(BaseCommand):
    help = "Resumes queues that were paused by the same name, or by --all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "queue", nargs="*", type=queue_name, metavar="NAME", help="the queues to resume"
        )
        parser.add_argument(
            "--all", action="store_true", help="undo pause_queue --all; pauses by name stay"
        )
        databases.add_to(parser)

    def handle(self, **options: Any) -> None:
        using = databases.chosen(options["database"])
        with transaction.atomic(using=using):
            for name in names(options):
                if not resume_queue(name, using=using):
                    self.stderr.write(f"{name or '--all'}: was not paused by this name.")
        self.stdout.write(describe(using))
