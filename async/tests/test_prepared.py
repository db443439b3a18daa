"""Statements that workers and parents prepare: how they are planned, and what if they are gone.

That transactions keep their promises with them is in test_transaction.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection, transaction

from django_async import plans, schedule
from django_async.errors import TransactionOpen
from django_async.fetch import Fetch, Selection, bounds
from django_async.hints import Hint
from django_async.models import Job
from django_async.roundtrips import SAVEPOINT
from suite import abuse, jobs
from suite.models import Note

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL"),
]


FRAME = ("BEGIN", f"SAVEPOINT {SAVEPOINT}", f"RELEASE SAVEPOINT {SAVEPOINT}", "COMMIT")


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plans, "AGE", 3600.0)  # so that a slow machine changes nothing
    connection.close()
    connection.ensure_connection()
    plans.begin()
    yield
    plans.give_up()
    connection.close()


def run_some(number: int = 2) -> None:
    for _ in range(number):
        run(schedule(jobs.note))


def run(job: Job) -> None:
    """As a worker does it."""
    job.execute()
    plans.prepare("default")
    assert job.state == "executed"


def prepared() -> dict[str, str]:
    """The queue's prepared statements of this session, and what they were made of; without those
    of the transaction around the claim and the mark."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, statement FROM pg_prepared_statements")
        return {
            name: text
            for name, text in cursor.fetchall()
            if name.startswith("django_async_") and text not in FRAME
        }


def test_claim_and_mark_are_prepared_after_the_first_job() -> None:
    assert prepared() == {}
    run_some(1)
    claim, mark = sorted(prepared().values(), key=lambda text: "marked" in text)
    assert "FOR NO KEY UPDATE SKIP LOCKED" in claim
    assert "UPDATE async_job SET executed" in mark
    run_some(10)
    assert len(prepared()) == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        assert {text for (text,) in cursor.fetchall()} >= {claim, mark, *FRAME}


def look() -> list[Hint]:
    """As a parent does it."""
    found = Fetch("default", None, Selection()).page(None, 10)
    plans.prepare("default")
    return found


def test_the_look_at_the_top_is_prepared_after_the_first_one() -> None:
    for number in range(30):
        schedule(jobs.note, priority=number % 4, run_after=[None, timedelta(0)][number % 2])
    first = look()
    [statement] = prepared().values()
    assert "RECURSIVE" in statement
    assert look() == first == sorted(first, key=lambda hint: hint.order)
    assert [hint.priority for hint in first] == [3] * 7 + [2] * 3
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    assert look() == first
    assert prepared() == {}


def test_a_selection_is_prepared_as_it_is_meant() -> None:
    for number in range(30):
        schedule(jobs.note, queue=f"queue {number % 3}")
    chosen = Selection(prefix="suite.", queues=("queue 1", "queue 2"), which=1, outof=2)
    reads = Fetch("default", bounds("default"), chosen)
    first = reads.page(None, 10)
    plans.prepare("default")
    assert len(prepared()) == 1
    assert reads.page(None, 10) == first
    assert len(first) == 10
    assert all(hint.id % 2 for hint in first)


def test_in_somebodys_transaction_nothing_is_prepared() -> None:
    """It would end with it."""
    with transaction.atomic():
        look()
        assert prepared() == {}
    connection.set_autocommit(False)
    look()
    assert prepared() == {}
    connection.rollback()
    connection.set_autocommit(True)
    look()
    assert len(prepared()) == 1


def test_only_who_sends_them_again_and_again_prepares() -> None:
    plans.give_up()
    run_some(3)
    look()
    assert prepared() == {}


@pytest.mark.parametrize(("most_jobs", "number"), [(1, 0), (19, 0), (20, 2), (None, 2)])
def test_a_worker_that_has_a_few_jobs_only_does_not(most_jobs: int | None, number: int) -> None:
    plans.begin(most_jobs)
    run_some(3)
    assert len(prepared()) == number


def test_the_plan_of_an_empty_table_reads_an_index() -> None:
    """It will not be made again when the table has a million rows."""
    Job.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (FULL, ANALYZE) async_job")
        look()
        run_some()
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        for name, text in prepared().items():
            nulls = ", ".join(["NULL"] * text.count("$"))
            cursor.execute(f"EXPLAIN EXECUTE {name}" + (f"({nulls})" if nulls else ""))
            plan = "\n".join(row[0] for row in cursor.fetchall())
            if "marked" not in text:
                index = "async_job_to_fetch" if "RECURSIVE" in text else "async_job_pkey"
                assert index in plan
            assert "Seq Scan on async_job" not in plan


def test_once_in_a_while_all_are_forgotten_and_what_is_still_used_is_prepared_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look()
    run_some()
    with connection.cursor() as cursor:
        cursor.execute("SELECT MAX(prepare_time) FROM pg_prepared_statements")
        (before,) = cursor.fetchone()
    assert len(prepared()) == 3
    mine = plans._process.sessions[connection.connection]
    monkeypatch.setattr(mine, "_next_time", 0.0)
    plans.prepare("default")
    assert prepared() == {}
    run_some(1)
    assert len(prepared()) == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT MIN(prepare_time) FROM pg_prepared_statements")
        assert cursor.fetchone()[0] > before


def test_who_has_lost_them_goes_on_without() -> None:
    """As behind a pooler, where each transaction may meet another session."""
    run_some()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    run_some(3)
    assert prepared() == {}
    assert Note.objects.count() == 5


def test_who_may_not_prepare_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "RULES", plans.RULES + "; nonsense")
    run_some(3)
    assert Note.objects.count() == 3


def test_a_job_that_takes_them_away_fails_once() -> None:
    run_some()
    job = schedule(abuse.deallocate)
    with pytest.raises(Exception, match="prepared statement"):
        job.execute()
    assert (job.state, job.errors.count()) == ("failed", 1)
    job.execute()
    assert job.state == "executed"


def test_a_job_that_leaves_a_pipeline_open_fails_and_its_session_ends() -> None:
    run_some()
    job = schedule(abuse.leave_pipeline)
    with pytest.raises(TransactionOpen):
        job.execute()
    assert (job.state, job.errors.count(), Note.objects.count()) == ("failed", 1, 2)
    run_some(1)
    assert Note.objects.count() == 3


@pytest.mark.parametrize("statement", ["ALTER TABLE async_job ADD COLUMN more integer", "ANALYZE"])
def test_a_change_of_the_table_is_survived(statement: str) -> None:
    run_some()
    with connection.cursor() as cursor:
        cursor.execute(statement)
    try:
        run_some(2)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE async_job DROP COLUMN IF EXISTS more")


def test_a_session_that_has_ended_meanwhile_is_no_matter() -> None:
    run_some()
    mine = plans._process.sessions[connection.connection]
    mine._next_time = 0.0
    abuse.end_session_from_outside()
    plans.prepare("default")
    connection.close()
    plans.prepare("default")
    run_some(1)
