"""The latest of the jobs that a command is about, at a cost that does not grow with what is done.

No index has the latest of the failed jobs, or the due ones of a name: PostgreSQL reads all jobs for
them, a third of a second for a million, however few are pending. So while few jobs are in a state,
they are found by its index, and their rows by their keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import QuerySet

from django_async import lookup
from django_async.locks import CHUNK
from django_async.models import Job

FEW = 10_000
"""Jobs in a state that are looked at one by one."""

PENDING = ("pending", "due", "scheduled", "failed")
"""States of pending jobs, which have an index together."""

ENDED = ("cancelled", "discarded")
"""States with an index each. So have the executed ones, but they are no few."""


def latest(jobs: QuerySet[Job], state: str | None, number: int) -> list[int]:
    """The ids of so many of the jobs, which are in that state, the greatest first."""
    found: list[int] = []
    for some in _portions(jobs, state):
        found += some.order_by("-pk").values_list("pk", flat=True)[: number - len(found)]
        if len(found) == number:
            break
    return found


def _portions(jobs: QuerySet[Job], state: str | None) -> Iterator[QuerySet[Job]]:
    """The jobs, those with the greatest ids first: a few by their keys, or all at once."""
    rows = _by_index(state, jobs.db)
    ids = list(rows.values_list("pk", flat=True)[: FEW + 1]) if rows is not None else None
    if ids is None or len(ids) > FEW:
        yield jobs
        return
    ids.sort(reverse=True)
    for start in range(0, len(ids), CHUNK):
        yield jobs.filter(pk__in=ids[start : start + CHUNK])


def _by_index(state: str | None, using: str) -> QuerySet[Job] | None:
    """What the index has that the state is in; None if there is none for few."""
    if state in PENDING:
        return lookup.lowest(using)
    return lookup.ended(state, using) if state in ENDED else None
