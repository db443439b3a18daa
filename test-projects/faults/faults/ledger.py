"""What jobs did, kept twice: a row inside of each job's transaction, and a line outside of it.

The row says that the job's effects were committed, the line that an attempt had begun. After every
scenario, each executed job has one row, and no other job has any.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Exists, OuterRef

from django_async import current_job
from django_async.clock import DatabaseNow
from django_async.models import Error, Job
from faults.models import Entry
from faults.place import FOLDER

LONGEST = 100
"""Bytes that a line does not reach."""

SHOWN = 5
"""Ids that a message names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that had begun."""

    job: int
    pid: int
    at: float
    service: str
    """Whose worker it was in; empty if it was no service's."""


def enter() -> None:
    """What every job does first: leave the line, and then the row."""
    running = current_job()
    assert running is not None
    note_start(running.id)
    Entry.objects.create(job=running.id, pid=os.getpid(), at=time.monotonic())


def note_start(job: int) -> None:
    """Leave a line, whole or not at all: one short write to the end of the file."""
    file = os.open(_file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        service = os.environ.get("FAULTS_SERVICE", "")
        os.write(file, f"{job} {os.getpid()} {time.monotonic()} {service}\n".encode())
    finally:
        os.close(file)


def starts() -> list[Start]:
    """The attempts that have begun so far, in their order."""
    return _parse(_file().read_text().splitlines()) if _file().exists() else []


def is_first_start() -> bool:
    """In a job that has left its line: whether there is no other one of it."""
    running = current_job()
    assert running is not None
    return [start.job for start in starts()].count(running.id) == 1


def latest(number: int) -> list[Start]:
    """The last attempts that have begun, or fewer; without reading all of a long file."""
    if not _file().exists():
        return []
    with _file().open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - number * LONGEST))
        return _parse(file.read().decode().splitlines()[-number:])


def entries() -> int:
    """How many effects were committed."""
    return Entry.objects.count()


def forget() -> None:
    """Begin anew: the rows have been deleted."""
    _file().unlink(missing_ok=True)


def bring_forward() -> int:
    """Make the jobs that failed due at once; how many there were."""
    return Job.objects.waiting().filter(attempts__gt=0).update(scheduled=DatabaseNow())


def problems() -> list[str]:
    """Everything in the tables that must not be, a sentence each."""
    executed = set(Job.objects.executed().values_list("pk", flat=True))
    entries = Counter(Entry.objects.values_list("job", flat=True))
    begun = {start.job for start in starts()}
    found = {
        "executed more than once": [job for job, times in entries.items() if times > 1],
        "executed, and without effect": executed - entries.keys(),
        "not executed, and with effect": entries.keys() - executed,
        "executed, and never begun": executed - begun,
        "neither ended nor failed": _unaccounted(),
    }
    return [f"{what}: {_shown(jobs)}" for what, jobs in found.items() if jobs]


def _parse(lines: Iterable[str]) -> list[Start]:
    parts = (line.split(" ") for line in lines)
    return [Start(int(job), int(pid), float(at), service) for job, pid, at, service in parts]


def _unaccounted() -> list[int]:
    """Pending jobs without an error, or whose next attempt has no time; the same of given up ones,
    which need an error."""
    failed = Exists(Error.objects.filter(job=OuterRef("pk")))
    silent = Job.objects.filter(~failed, executed=None, cancelled=None)
    return sorted(
        {*silent.values_list("pk", flat=True), *Job.objects.due().values_list("pk", flat=True)}
    )


def _shown(jobs: Iterable[int]) -> str:
    ordered = sorted(jobs)
    rest = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return f"{', '.join(map(str, ordered[:SHOWN]))}{rest}"


def _file() -> Path:
    return FOLDER / "starts"
