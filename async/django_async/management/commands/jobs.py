"""``manage.py jobs``: which jobs there are, the latest first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet

from django_async import roster
from django_async.calls import call, with_calls
from django_async.errors import NoticesUnavailable
from django_async.locks import CHUNK
from django_async.management import selecting
from django_async.management.arguments import positive
from django_async.management.latest import latest
from django_async.models import Job
from django_async.payload import printable
from django_async.roster import Entry

COLUMNS = ("id", "state", "priority", "queue", "attempts", "scheduled", "process", "call")
MOST = 100
WIDEST = 60
"""Characters of a call, for people."""

Running = dict[int, Entry]
"""What runs now, by the job's id."""


class Command(BaseCommand):
    help = "Lists jobs, the latest first. Exit status 0, also if there are none."

    def add_arguments(self, parser: CommandParser) -> None:
        selecting.add_to(parser)
        add = parser.add_argument
        add("--limit", type=positive, default=MOST, metavar="N", help=f"at most so many: {MOST}")
        add("--json", action="store_true", help="one object a line, for machines")

    def handle(self, **options: Any) -> None:
        limit, running = options["limit"], self._running(options)
        found = latest(selecting.selected(options, running), options["state"], limit + 1)
        every = Job.objects.using(selecting.database(options)).defer("result")
        jobs = _by_key(every if options["json"] else with_calls(every), found[:limit])
        for line in (as_json if options["json"] else as_table)(jobs, running or {}):
            self.stdout.write(line)
        if len(found) > limit:
            self.stderr.write(f"There are more than {limit}: --limit says how many are shown.")

    def _running(self, options: dict[str, Any]) -> Running | None:
        """None if that cannot be told; what is asked for may need it."""
        try:
            return roster.alive(selecting.database(options))
        except NoticesUnavailable as error:
            if options["state"] != "running":
                self.stderr.write(str(error))
            return None


def as_json(jobs: Iterable[Job], running: Running) -> Iterable[str]:
    """Each job as an object with what its row says, and where it runs."""
    for job in jobs:
        entry = _entry(job, running)
        row = {
            "id": job.pk,
            "state": "running" if entry else job.state,
            "host": entry.parent.host if entry and entry.parent else None,
            "pid": entry.run.pid if entry else None,
            "name": job.name,
            **{key: _loaded(getattr(job, key)) for key in ("args", "kwargs", "meta")},
            **{key: getattr(job, key) for key in ("priority", "queue", "attempts", "added")},
            **{key: getattr(job, key) for key in ("scheduled", "started", "executed")},
            **{key: getattr(job, key) for key in ("cancelled", "discarded", "group_id", "worker")},
        }
        yield json.dumps(row, cls=DjangoJSONEncoder)


def as_table(jobs: Iterable[Job], running: Running) -> Iterable[str]:
    """Columns for people; nothing that a job brings along can break a line."""
    rows = [COLUMNS, *(_row(job, _entry(job, running)) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _by_key(jobs: QuerySet[Job], ids: list[int]) -> Iterator[Job]:
    """Those with these ids, in their order, read as they are wanted."""
    for start in range(0, len(ids), CHUNK):
        yield from jobs.filter(pk__in=ids[start : start + CHUNK]).order_by("-pk")


def _entry(job: Job, running: Running) -> Entry | None:
    """Where the job runs. It may have ended since that was looked up."""
    has_ended = job.executed or job.cancelled or job.discarded
    return None if has_ended else running.get(job.pk)


def _row(job: Any, entry: Entry | None) -> tuple[str, ...]:
    text = call(job)
    text = text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
    time = job.scheduled.isoformat(" ", "seconds") if job.scheduled else "-"
    state = "running" if entry else job.state
    numbers = str(job.priority), printable(job.queue), str(job.attempts)
    return (str(job.pk), state, *numbers, time, _process(entry), text)


def _process(entry: Entry | None) -> str:
    if entry is None or entry.parent is None:
        return "-"
    return f"{printable(entry.parent.host)} {entry.run.pid}"


def _loaded(text: str) -> Any:
    """What the JSON says, or the text itself where it is broken."""
    try:
        return json.loads(text)
    except ValueError:
        return text
