"""Finding jobs among millions without reading them all.

An index on the table of jobs costs every job a write or three, so there is none by queue, by
function or by words. What has one is told at once: the latest jobs, those of a group, what has
ended and when, a job by its id. What has none is looked for among the first LOOKED_AT jobs of the
parts that are in question, read along the index of each, and whoever asks is told where that ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from django.db.models import Case, Q, QuerySet, Value, When
from django.db.models.functions import Left

from django_async import backlog, census, roster
from django_async.clock import DatabaseNow
from django_async.errors import NoticesUnavailable
from django_async.models import Job
from django_async.payload import identity_of
from django_async.pending import BY_CALL, BY_KEY, IN_ORDER

LOOKED_AT = 50_000
"""Jobs of each part that are looked at."""

FOUND = 900
"""Jobs that are told of what was found so. See locks.CHUNK for what MariaDB makes of longer
lists."""

LONGEST_ARGUMENTS = 2_000
"""Characters of the arguments in which words are looked for."""

ENDED = ("executed", "cancelled", "discarded")

STATES = ("due", "running", "scheduled", "failing", "discarded", "executed", "cancelled")

LARGEST_ID = (1 << 63) - 1

FIRST = 1_000
"""Jobs that are read at first: most often there are enough among them."""

RANGES = 200
"""Ranges of a part that are looked at, at the most: each takes a statement."""

Part = Iterable[QuerySet[Job]]
"""Jobs in the order of an index: one range of it, or several behind each other."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found."""

    ids: list[int]
    are_more: bool
    """Whether more than these were found."""
    is_all: bool
    """Whether all jobs in question were looked at."""


def find(parts: Iterable[Part], condition: Q) -> Found:
    """The jobs of the parts that meet the condition, up to FOUND."""
    ids: dict[int, None] = {}
    is_all = True
    for part in parts:
        is_all = _search(part, condition, ids) and is_all
        if len(ids) > FOUND:
            break
    return Found(list(ids)[:FOUND], are_more=len(ids) > FOUND, is_all=is_all)


def parts(state: str, using: str) -> Iterator[Part]:
    """Where the jobs of a state are, the first ones first; of no state, all jobs."""
    jobs = Job.objects.using(using)
    if state == "due":
        yield backlog.due(using)
    elif state == "scheduled":
        yield backlog.later(using)
    elif state == "failing":
        yield [lowest(using)]
    elif state == "running":
        yield [jobs.filter(is_in(state, using)).order_by("-pk")]
    elif state in ENDED:
        yield [ended(state, using)]
    else:
        yield from ([jobs.order_by("-pk")], [lowest(using)])


def lowest(using: str) -> QuerySet[Job]:
    """The pending jobs, those of the lowest priority first: each failure lowers it."""
    return census.pending_jobs(using).order_by("priority", "scheduled", "id")


def ended(state: str, using: str) -> QuerySet[Job]:
    """What has ended so, the latest first."""
    return Job.objects.using(using).filter(is_in(state, using)).order_by(f"-{state}", "-pk")


def is_in(state: str, using: str) -> Q:
    """That a job is in the state; what runs in a transaction seems to be due as well."""
    waits = Q(IN_ORDER, started=None)
    if state == "due":
        return waits & (Q(scheduled=None) | Q(scheduled__lte=DatabaseNow()))
    if state == "scheduled":
        return waits & Q(scheduled__gt=DatabaseNow())
    if state == "failing":
        return waits & Q(attempts__gt=0)
    if state == "running":
        return Q(BY_KEY, pk__in=list(running(using) or ()))
    return Q(**{f"{state}__isnull": False})


def running(using: str) -> Collection[int] | None:
    """The ids of the jobs that run; None if the file beside an SQLite database is unreadable."""
    try:
        return roster.alive(using)
    except NoticesUnavailable:
        return None


def calls(path: str) -> Q:
    """That a job calls this function; with a point at its end, one below this path."""
    return Q(name__startswith=path) if path.endswith(".") else Q(name=path)


def named(text: str) -> Q | None:
    """The jobs that the text names: by the id, by that of Django's task framework, or, of pending
    ones, by the whole call as the lists show it. None if it cannot be a name."""
    if text.isascii() and text.isdecimal():
        return Q(pk=int(text)) if len(text) < 20 and int(text) <= LARGEST_ID else None
    if re.fullmatch("[0-9a-f]{32}", text):
        return Q(task_id=text)
    if re.fullmatch(r"[\w.:]+\(.*\)", text, re.DOTALL):
        return Q(BY_CALL, identity=identity_of(text))
    return None


def mentions(text: str) -> Q:
    """That a job has the text in its function's path, or near the beginning of its arguments, or is
    called so as a whole; of jobs that are ``with_arguments()``."""
    stored = json.dumps(text)[1:-1]
    in_arguments = Q(start_of_args__icontains=stored) | Q(start_of_kwargs__icontains=stored)
    return Q(name__icontains=text) | in_arguments | Q(identity=identity_of(text))


def with_arguments(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """With what ``mentions()`` looks at."""
    return jobs.annotate(
        start_of_args=Left("args", LONGEST_ARGUMENTS),
        start_of_kwargs=Left("kwargs", LONGEST_ARGUMENTS),
    )


def _search(part: Part, condition: Q, ids: dict[int, None]) -> bool:
    """Add those of a part that meet the condition, and say whether all of it was looked at."""
    left = LOOKED_AT
    for rows in part:
        if left <= 0:
            return False
        for job_id, is_hit in _look(rows, condition, left + 1):
            if left <= 0 or len(ids) > FOUND:
                return False
            left -= 1
            if is_hit:
                ids[job_id] = None
        left -= LOOKED_AT // RANGES
    return True


def _look(rows: QuerySet[Job], condition: Q, most: int) -> Iterator[tuple[int, int]]:
    """The ids of the first jobs of a range, and whether each meets the condition: as 0 or 1. Of one
    that nothing can meet Django makes a cast, and MariaDB has none to booleans."""
    is_hit = Case(When(condition, then=Value(1)), default=Value(0))
    found = with_arguments(rows).annotate(is_hit=is_hit).values_list("pk", "is_hit")
    for begin, end in pairwise((0, min(FIRST, most), most)):
        read = list(found[begin:end])
        yield from read
        if len(read) < end - begin:
            break
