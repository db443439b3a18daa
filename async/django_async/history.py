"""What has become of a job, in order: as far as its row and those of its errors tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models.functions import Left

from django_async.models import Error, Job
from django_async.recurring import LONGEST_TEXT, LONGEST_TRACEBACK

SHOWN = 50
"""Failed attempts that are told, the latest ones."""

COUNTED = 10_000
"""Failed attempts that are counted."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        what: ``added``, ``skipped`` (attempts that are too many to be told), ``failed``,
            ``began``, ``executed``, ``cancelled`` or ``discarded``.
        number: of the attempt; of ``skipped``, how many they were.
        by: the host and the process that did it, if that is known.
        seconds: how long it took, if that is known.
        exception, traceback: the beginnings of what went wrong.
    """

    what: str
    at: datetime | None
    number: int | None = None
    by: str | None = None
    seconds: float | None = None
    exception: str = ""
    traceback: str = ""


def history(job: Job) -> list[Event]:
    """The job's events, the earliest first."""
    return [Event("added", job.added), *_failures(job), *_end(job)]


def _failures(job: Job) -> Iterator[Event]:
    errors = Error.objects.using(job._state.db).filter(job_id=job.pk)
    number = errors.order_by()[:COUNTED].count()
    latest = errors.order_by("-pk").values(
        *("executed", "started", "worker"),
        exception_shown=Left("exception", LONGEST_TEXT),
        traceback_shown=Left("traceback", LONGEST_TRACEBACK),
    )
    rows = list(latest[:SHOWN])
    if number > len(rows):
        yield Event("skipped", None, number - len(rows))
    for place, row in enumerate(reversed(rows), start=number - len(rows) + 1):
        yield _failure(place, row)


def _failure(number: int, row: dict[str, Any]) -> Event:
    return Event(
        "failed",
        row["executed"],
        number,
        row["worker"],
        _seconds(row["started"], row["executed"]),
        row["exception_shown"],
        row["traceback_shown"],
    )


def _end(job: Job) -> Iterator[Event]:
    if job.executed:
        took = _seconds(job.started, job.executed)
        yield Event("executed", job.executed, job.attempts or None, job.worker, took)
    elif job.started and not (job.cancelled or job.discarded):
        yield Event("began", job.started, job.attempts, job.worker)
    for what in ("cancelled", "discarded"):
        if at := getattr(job, what):
            yield Event(what, at)


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    return max(0.0, (end - begin).total_seconds()) if begin and end else None
