"""Errors of a kind: how often each function raised what of late, and which jobs that was.

There may be a million errors, and no index is by kind: one would cost every failure a write. So the
latest errors alone are looked at, and their jobs, all found by the primary key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models.functions import Left

from django_async.locks import CHUNK
from django_async.models import Error, Job, JobQuerySet
from django_async.rescheduling import FAILED

LATEST = 10_000
"""How many errors are looked at: the latest ones."""

KINDS = 100
"""How many kinds are told, those that occurred last."""

LONGEST_TEXT, LONGEST_TRACEBACK = 500, 20_000
"""Characters that are read of an exception and of a traceback."""


Row = tuple[int, int, str | None, datetime]
"""Of an error: its id, its job's, the kind, and when it was."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The errors of one function with one class of exception."""

    name: str
    kind: str | None
    """The dotted path of the class; None in rows of 0.7.3."""
    count: int
    first: datetime
    last: datetime
    exception: str
    """Of the latest one, as its traceback and its job: the beginning."""
    traceback: str
    job_id: int


def kinds() -> tuple[list[Kind], bool]:
    """Those that occurred last, the latest first, and whether there are more."""
    found: dict[tuple[str, str | None], list[Row]] = {}
    rows = _latest()
    names = _names({row[1] for row in rows})
    for row in rows:
        if row[1] in names:  # else it was deleted since
            found.setdefault((names[row[1]], row[2]), []).append(row)
    shown = list(found.items())[:KINDS]
    texts = _texts([same[0][0] for _, same in shown])
    return [_kind(*which, same, texts) for which, same in shown], len(found) > KINDS


def earliest() -> int:
    """The id of the first one of the latest errors."""
    keys = Error.objects.order_by("-pk").values_list("pk", flat=True)
    return next(iter(keys[LATEST - 1 : LATEST]), 0)


def jobs_of(name: str, kind: str | None) -> list[int]:
    """The jobs of the function with such an error among the latest, in ascending order."""
    ids = {job for _, job, found, _ in _latest() if found == kind}
    return sorted(job for job, found in _names(ids).items() if found == name)


def waiting(ids: list[int]) -> int:
    """How many of the jobs have failed and wait, or were discarded: what can be tried again."""
    return sum(_failed(some).count() for some in _portions(ids))


def retry(ids: list[int]) -> int:
    """Have these run now, in portions of a transaction each; how many there were. Left alone are
    those that run, and those whose group cannot be opened again."""
    return sum(_failed(some).retry_failed() for some in _portions(ids))


def _latest() -> list[Row]:
    """The newest first."""
    rows = Error.objects.order_by("-pk").values_list("pk", "job_id", "kind", "executed")
    return list(rows[:LATEST])


def _names(ids: Collection[int]) -> dict[int, str]:
    """By the primary key: a join would have PostgreSQL read all jobs, once they seem few enough."""
    names: dict[int, str] = {}
    for some in _portions(sorted(ids)):
        names.update(Job.objects.filter(pk__in=some).values_list("pk", "name"))
    return names


def _texts(ids: list[int]) -> dict[int, tuple[str, str]]:
    """The beginnings of the exception and the traceback."""
    rows = Error.objects.filter(pk__in=ids).values_list(
        "pk", Left("exception", LONGEST_TEXT), Left("traceback", LONGEST_TRACEBACK)
    )
    return {pk: (text, trace) for pk, text, trace in rows}


def _kind(name: str, kind: str | None, same: list[Row], texts: dict[int, tuple[str, str]]) -> Kind:
    newest, stamps = same[0], [row[3] for row in same]
    exception, traceback = texts.get(newest[0], ("", ""))
    return Kind(
        name=name,
        kind=kind,
        count=len(same),
        first=min(stamps),
        last=max(stamps),
        exception=exception,
        traceback=traceback,
        job_id=newest[1],
    )


def _failed(ids: list[int]) -> JobQuerySet:
    jobs: JobQuerySet = Job.objects.filter(FAILED, pk__in=ids)
    return jobs


def _portions(ids: list[int]) -> Iterable[list[int]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
