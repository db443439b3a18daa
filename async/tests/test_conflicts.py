"""Deadlocks and serialisation failures are nobody's fault: the job runs again at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from django_async import runner, schedule
from django_async.models import Job
from suite import abuse, jobs
from suite.attempts import attempt, notes
from suite.models import Account, Note
from suite.together import DEADLINE, beside, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer: no deadlocks"),
]

Flush = Callable[..., Any]

CODES = {
    "postgresql": ["40001", "40P01"],
    "mysql": ["1213", "1205", "1020"],
}.get(connection.vendor, [])


def starts(folder: Path) -> int:
    """How often a job has begun."""
    return len(list(folder.glob("start-*")))


def hold_the_other(folder: Path, held: threading.Event) -> None:
    """Lock the second account, then want the first one when the job has it; never be the victim."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL deadlock_timeout = '60s'")  # the job finds the deadlock
        Note.objects.bulk_create(
            Note(text="heavy") for _ in range(100)
        )  # InnoDB spares who did more
        Account.objects.filter(name="second").update(balance=1)
        held.set()
        wait_until(lambda: (folder / "has-first").exists(), "the job's first lock")
        Account.objects.filter(name="first").update(balance=1)
    (folder / "other-done").touch()


@pytest.mark.parametrize("way", ["flush", "worker"])
def test_the_victim_of_a_deadlock_runs_again_at_once(
    way: str, flush: Flush, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        Account.objects.create(name=name)
    job, held = schedule(abuse.lock_both, [str(tmp_path)]), threading.Event()
    with beside(hold_the_other, tmp_path, held) as other:
        assert held.wait(DEADLINE)
        job = attempt(job, way, flush)
        other.result(DEADLINE)
    assert (job.state, job.attempts, job.errors.count()) == ("executed", 1, 0)
    assert starts(tmp_path) == 2
    assert dict(Account.objects.values_list("name", "balance")) == {"first": 11, "second": 11}
    assert notes().count("locked both") == 1


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("way", ["flush", "worker"])
def test_what_conflicts_again_and_again_is_recorded_in_the_end(
    code: str, way: str, flush: Flush, tmp_path: Path
) -> None:
    job = attempt(schedule(abuse.conflict, [code, str(tmp_path), 99]), way, flush)
    assert (job.state, job.attempts, job.errors.count()) == ("failed", 1, 1)
    assert starts(tmp_path) == runner.RETRIES + 1
    assert not notes()


@pytest.mark.parametrize("code", CODES)
def test_what_conflicts_a_few_times_is_executed(code: str, flush: Flush, tmp_path: Path) -> None:
    job = attempt(schedule(abuse.conflict, [code, str(tmp_path), runner.RETRIES]), "worker", flush)
    assert (job.state, job.attempts, job.errors.count()) == ("executed", 1, 0)
    assert starts(tmp_path) == runner.RETRIES + 1
    assert notes() == ["no conflict"]


def test_a_conflict_that_the_job_wraps_in_an_error_of_its_own_is_one(
    flush: Flush, tmp_path: Path
) -> None:
    job = schedule(abuse.wrap_conflict, [CODES[0], str(tmp_path), 1])
    assert attempt(job, "worker", flush).state == "executed"


def test_any_other_database_error_is_recorded_at_once(flush: Flush, tmp_path: Path) -> None:
    job = attempt(schedule(abuse.conflict, ["other", str(tmp_path), 99]), "worker", flush)
    assert (job.state, job.attempts) == ("failed", 1)
    assert starts(tmp_path) == 1


LEVELS = {"READ COMMITTED": 2, "REPEATABLE READ": 3}
"""With the number that psycopg gives to each."""


@pytest.mark.parametrize("level", LEVELS)
def test_the_queues_own_statements_cause_no_conflicts(
    level: str, flush: Flush, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the sessions are at a higher isolation level than the default one."""
    named = level.lower() if connection.vendor == "mysql" else LEVELS[level]
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", named)
    connection.close()
    for number in range(300):
        schedule(jobs.note if number % 10 else jobs.fail, [f"{number:03}"], priority=number % 3)
    flushed = flush(workers=4, keep_going=True)
    assert flushed.output.startswith("270 executed, 30 failed, 0 skipped")
    errors = Job.objects.filter(errors__isnull=False).values_list("errors__exception", flat=True)
    assert len(errors) == 30
    assert all("ValueError" in error for error in errors)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    connection.close()
