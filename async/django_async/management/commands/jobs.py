"""``manage.py jobs``: which jobs there are, the latest first."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from django_async.management import selecting
from django_async.management.arguments import positive
from django_async.models import Job
from django_async.payload import label, printable

COLUMNS = ("id", "state", "priority", "queue", "attempts", "scheduled", "call")
MOST = 100
WIDEST = 60
"""Characters of a call, for people."""


class Command(BaseCommand):
    help = "Lists jobs, the latest first. Exit status 0, also if there are none."

    def add_arguments(self, parser: CommandParser) -> None:
        selecting.add_to(parser)
        add = parser.add_argument
        add("--limit", type=positive, default=MOST, metavar="N", help=f"at most so many: {MOST}")
        add("--json", action="store_true", help="one object a line, for machines")

    def handle(self, **options: Any) -> None:
        limit = options["limit"]
        found = list(selecting.selected(options).order_by("-pk")[: limit + 1])
        shown = found[:limit]
        for line in as_json(shown) if options["json"] else as_table(shown):
            self.stdout.write(line)
        if len(found) > limit:
            self.stderr.write(f"There are more than {limit}: --limit says how many are shown.")


def as_json(jobs: Iterable[Job]) -> Iterable[str]:
    """Each job as an object with what its row says."""
    for job in jobs:
        row = {
            "id": job.pk,
            "state": job.state,
            "name": job.name,
            **{key: _loaded(getattr(job, key)) for key in ("args", "kwargs", "meta")},
            **{key: getattr(job, key) for key in ("priority", "queue", "attempts", "added")},
            **{key: getattr(job, key) for key in ("scheduled", "started", "executed")},
            **{key: getattr(job, key) for key in ("cancelled", "discarded", "group_id", "worker")},
        }
        yield json.dumps(row, cls=DjangoJSONEncoder)


def as_table(jobs: Iterable[Job]) -> Iterable[str]:
    """Columns for people; nothing that a job brings along can break a line."""
    rows = [COLUMNS, *(_row(job) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(job: Job) -> tuple[str, ...]:
    call = label(job.name, job.args, job.kwargs)
    call = call if len(call) <= WIDEST else f"{call[: WIDEST - 1]}…"
    time = job.scheduled.isoformat(" ", "seconds") if job.scheduled else "-"
    numbers = str(job.priority), printable(job.queue), str(job.attempts)
    return (str(job.pk), job.state, *numbers, time, call)


def _loaded(text: str) -> Any:
    """What the JSON says, or the text itself where it is broken."""
    try:
        return json.loads(text)
    except ValueError:
        return text
