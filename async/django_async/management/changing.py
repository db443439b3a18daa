"""A command of the terminal that does something to jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet

from django_async.errors import NoticesUnavailable
from django_async.management import selecting
from django_async.many import Tally
from django_async.models import Job

COUNTED = 10_000
"""Jobs that are counted before the question; of more it says that they are more."""


class ChangingCommand(BaseCommand):
    """Asks, does it, and tells. Exit status 1 if it was done to none, or the answer was no."""

    verb = ""
    change: Callable[[QuerySet[Job]], Tally]

    def add_arguments(self, parser: CommandParser) -> None:
        selecting.add_to(parser)
        add = parser.add_argument
        add("--all", action="store_true", help="every job, if nothing else says which")
        add("--no-input", action="store_false", dest="interactive", help="do not ask")
        add("--json", action="store_true", help="tell what came of it as an object")

    def handle(self, **options: Any) -> None:
        if selecting.is_restricted(options) is options["all"]:
            raise CommandError(
                "Say which jobs are meant, or give --all: one of the two.", returncode=2
            )
        jobs = selecting.selected(options)
        if options["interactive"] and not options["id"]:
            self._ask(jobs)
        tally = self._changed(jobs)
        self.stdout.write(_as_json(tally) if options["json"] else f"{self.verb}: {tally}.")
        if not (tally.changed or tally.asked):
            raise CommandError("Nothing was done.", returncode=1)

    def _changed(self, jobs: QuerySet[Job]) -> Tally:
        try:
            return type(self).change(jobs)
        except NoticesUnavailable as error:
            raise CommandError(f"Not everything was done. {error}", returncode=1) from error

    def _ask(self, jobs: QuerySet[Job]) -> None:
        number = jobs.order_by()[: COUNTED + 1].count()
        many = f"more than {COUNTED}" if number > COUNTED else str(number)
        try:
            answer = input(f"{self.verb} {many} jobs? [y/N] ")
        except EOFError as error:  # started by cron or the like
            text = "Nobody is there to answer: give --no-input. Nothing was done."
            raise CommandError(text, returncode=1) from error
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was done.", returncode=1)


def _as_json(tally: Tally) -> str:
    return json.dumps(
        {"changed": tally.changed, "asked": tally.asked, "left_alone": dict(tally.left_alone)}
    )
