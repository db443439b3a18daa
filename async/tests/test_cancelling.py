"""Job.cancel() and deschedule(running=True): what happens at once, and what is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from django_async import clock, runner, schedule
from django_async.api import deschedule, schedule_many
from django_async.control import Control, Run
from django_async.errors import JobEnded
from django_async.hints import Hint
from django_async.models import Job
from django_async.noticeboard import Noticeboard, noticeboard
from django_async.outcomes import Lost
from suite import abuse, calls
from suite.jobs import fail, note, nothing
from suite.models import Note
from suite.together import DEADLINE, beside, elsewhere, locked

pytestmark = pytest.mark.django_db(transaction=True)

row_locks = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
one_writer = pytest.mark.skipif(connection.vendor != "sqlite", reason="has more than one writer")

ME = "3" * 32


@pytest.fixture(autouse=True)
def board() -> Iterator[Noticeboard]:
    """The noticeboard of the default database, cleared of what other tests have left."""
    board = noticeboard("default")
    board.drop(board.requests())
    yield board
    board.close()


@pytest.fixture
def gate() -> Iterator[None]:
    """A closed gate, which is open again in the end whatever happens."""
    calls.close_gate()
    yield
    calls.gate.set()


def state(job: Job) -> str:
    job.refresh_from_db()
    return job.state


def asked_for(board: Noticeboard) -> list[int]:
    return [one.job_id for one in board.requests()]


def beat(*runs: Run) -> set[int]:
    """What a parent does that holds these runs."""
    control = Control("default", ME)
    try:
        return control.beat(runs)
    finally:
        control.clear()


def test_a_job_that_waits_is_cancelled_at_once(board: Noticeboard, flush: Any) -> None:
    job = schedule(note, run_after=timedelta(hours=-1))
    assert job.cancel() is True
    assert job.cancelled is not None
    assert asked_for(board) == []
    assert flush().output.startswith("0 executed")
    assert state(job) == "cancelled"


def test_a_job_that_failed_is_cancelled_with_its_errors_kept(flush: Any) -> None:
    job = schedule(fail)
    flush(keep_going=True)
    assert job.cancel() is True
    assert (job.state, job.attempts, job.errors.count()) == ("cancelled", 1, 1)


def test_it_is_part_of_the_callers_transaction(board: Noticeboard) -> None:
    job, running = schedule(nothing), schedule(nothing)
    Job.objects.filter(pk=running.pk).update(started=clock.now("default"))
    with transaction.atomic():
        assert job.cancel() is True
        assert running.cancel() is False
        transaction.set_rollback(True)
    assert state(job) == "due"
    assert asked_for(board) == []


@pytest.mark.parametrize("end", ["executed", "cancelled", "discarded", "gone"])
def test_what_has_ended_cannot_be_cancelled(board: Noticeboard, end: str) -> None:
    job, now = schedule(nothing), clock.now("default")
    if end == "gone":
        Job.objects.all().delete()
    else:
        Job.objects.update(started=now, **{end: now})
    before = list(Job.objects.values())
    with pytest.raises(JobEnded, match=f"{job.pk} is {end}"):
        job.cancel()
    assert list(Job.objects.values()) == before
    assert asked_for(board) == []


def test_a_running_job_is_asked_for_without_waiting_and_its_parent_told(
    board: Noticeboard, gate: None
) -> None:
    job, other = schedule(calls.waits_at_gate), schedule(nothing)
    with beside(job.execute) as running:
        assert calls.arrived.wait(DEADLINE)
        mine = Job.objects.get(pk=job.pk)
        assert mine.cancel() is False
        assert not running.done()
        assert asked_for(board) == [job.pk]
        assert beat(Run(job.pk, 1, 1, 9.0), Run(other.pk, 1, 2, 9.0)) == {job.pk}
        calls.gate.set()
        running.result(DEADLINE)
    assert (state(job), state(other)) == ("executed", "due")
    beat()
    assert asked_for(board) == []
    assert (state(job), state(other)) == ("executed", "due")


def test_a_running_job_that_fails_before_it_is_interrupted_is_cancelled_by_any_parent(
    board: Noticeboard, gate: None
) -> None:
    job = schedule(calls.waits_at_gate, kwargs={"fails": True})
    with beside(job.execute) as running:
        assert calls.arrived.wait(DEADLINE)
        assert Job.objects.get(pk=job.pk).cancel() is False
        assert beat() == set()
        calls.gate.set()
        assert running.exception(DEADLINE)
    assert state(job) == "failed"
    beat()
    assert (state(job), asked_for(board)) == ("cancelled", [])
    assert (job.attempts, job.errors.count()) == (1, 1)


@pytest.mark.parametrize("meta", [{}, {"atomic": False}])
def test_a_running_job_whose_worker_dies_before_it_is_interrupted_is_not_tried_again(
    meta: dict[str, Any], flush: Any
) -> None:
    """The first death of a worker makes a job due at once: sooner than requests are looked at."""
    job = schedule(abuse.be_cancelled_and_die, meta=meta)
    flush(workers=1, keep_going=True)
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("cancelled", 1)
    assert "WorkerDied" in job.errors.get().exception
    assert Note.objects.count() == (2 if meta else 0)


@row_locks
def test_a_row_that_somebody_else_has_locked_is_cancelled_when_it_is_free(
    board: Noticeboard,
) -> None:
    job = schedule(nothing)
    with locked(job):
        assert job.cancel() is False
        beat()
        assert (state(job), asked_for(board)) == ("due", [job.pk])
    beat()
    assert (state(job), asked_for(board)) == ("cancelled", [])


@one_writer
def test_on_sqlite_a_waiting_job_is_asked_for_as_well_while_another_one_runs(
    board: Noticeboard, gate: None
) -> None:
    job, waiting = schedule(calls.waits_at_gate), schedule(nothing)
    with beside(job.execute) as running:
        assert calls.arrived.wait(DEADLINE)
        assert waiting.cancel() is False
        calls.gate.set()
        running.result(DEADLINE)
    beat()
    assert (state(job), state(waiting), asked_for(board)) == ("executed", "cancelled", [])


@one_writer
def test_on_sqlite_a_quick_writer_is_waited_for(board: Noticeboard) -> None:
    job = schedule(nothing)
    begun = threading.Event()

    def write() -> None:
        with transaction.atomic():
            Note.objects.create(text="quick")
            begun.set()

    with beside(write):
        assert begun.wait(DEADLINE)
        job.cancel()
    beat()
    assert (state(job), asked_for(board)) == ("cancelled", [])


@row_locks
def test_a_claim_that_comes_meanwhile_gets_nothing() -> None:
    job = schedule(note)
    hint = Hint(job.pk, 0, job.priority, None, None)
    with transaction.atomic():
        assert job.cancel() is True
        assert elsewhere(runner.run_job, hint, "default") == Lost(hint, taken=False)
    assert state(job) == "cancelled"
    assert not Note.objects.exists()


@row_locks
def test_many_ask_for_one_job_and_none_waits_for_another(board: Noticeboard) -> None:
    """Not even for one that has asked in a transaction which goes on."""
    job = schedule(nothing)
    with locked(job), transaction.atomic():
        assert job.cancel() is False
        assert elsewhere(Job.objects.get(pk=job.pk).cancel) is False
        assert elsewhere(beat) == set()
    assert asked_for(board) == [job.pk, job.pk]
    beat()
    assert (state(job), asked_for(board)) == ("cancelled", [])


def test_a_job_that_runs_without_a_transaction_is_asked_for(board: Noticeboard) -> None:
    job = schedule(nothing)
    Job.objects.update(started=clock.now("default"))
    assert job.cancel() is False
    assert asked_for(board) == [job.pk]
    assert job.cancelled is None


def test_descheduling_leaves_jobs_that_run_without_a_transaction_alone(
    board: Noticeboard,
) -> None:
    running, waiting = schedule(nothing), schedule(nothing)
    Job.objects.filter(pk=running.pk).update(started=clock.now("default"))
    assert deschedule(nothing) == 1
    assert (state(waiting), asked_for(board)) == ("cancelled", [])
    running.refresh_from_db()
    assert running.cancelled is None


def test_descheduling_running_jobs_too_cancels_or_asks_for_every_match(
    board: Noticeboard, gate: None
) -> None:
    schedule(nothing)
    schedule(calls.waits_at_gate).cancel()
    jobs = schedule_many({"function": calls.waits_at_gate} for _ in range(3))
    with beside(jobs[0].execute) as running:
        assert calls.arrived.wait(DEADLINE)
        assert deschedule(calls.waits_at_gate, running=True) == 3
        assert not running.done()
        assert jobs[0].pk in asked_for(board)
        calls.gate.set()
        running.result(DEADLINE)
    beat()
    states = [state(job) for job in Job.objects.order_by("pk")]
    assert states == ["due", "cancelled", "executed", "cancelled", "cancelled"]
    assert asked_for(board) == []


@pytest.mark.parametrize("meta", [{}, {"atomic": False}])
def test_a_job_that_asks_for_its_own_end_is_running(meta: dict[str, Any]) -> None:
    job = schedule(calls.cancels_itself, meta=meta)
    assert job.execute() is False
    assert state(job) == "executed"


@row_locks
def test_inside_a_job_it_does_not_wait_and_leaves_the_caller_alone(board: Noticeboard) -> None:
    canceller = schedule(calls.cancels_running_calls, ["suite.jobs.nothing"])
    running, twin = schedule(nothing), schedule(calls.cancels_running_calls)
    with locked(running):
        assert elsewhere(canceller.execute) == 1
        assert asked_for(board) == [running.pk]
        assert elsewhere(twin.execute) == 0
    assert state(canceller) == "executed"
    assert state(twin) == "executed"


def test_thousands_are_cancelled_without_waiting() -> None:
    schedule_many({"function": nothing} for _ in range(2_345))
    assert deschedule(nothing, running=True) == 2_345
    assert not Job.objects.pending().exists()


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_in_another_database(board: Noticeboard) -> None:
    job = schedule(nothing, using="other")
    Job.objects.using("other").update(started=clock.now("other"))
    assert job.cancel() is False
    there = noticeboard("other")
    assert (asked_for(there), asked_for(board)) == ([job.pk], [])
    there.drop(there.requests())
    there.close()
