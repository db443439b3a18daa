"""Job.retry(), Job.reschedule() and Job.objects.retry_failed()."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from django_async import clock, schedule
from django_async.control import Control
from django_async.errors import JobEnded, JobNotRunnable
from django_async.models import Cancellation, Error, Group, Job
from django_async.noticeboard import noticeboard
from suite import calls
from suite.attempts import attempt
from suite.jobs import fail, note, nothing
from suite.models import Note
from suite.together import locked

pytestmark = pytest.mark.django_db(transaction=True)

row_locks = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
HOUR = timedelta(hours=1)
Flush = Callable[..., Any]


def made(state: str, function: Any = note, **more: Any) -> Job:
    """A job in this state, with an attempt and an error behind it."""
    job = schedule(function, run_after=HOUR, **more)
    now = clock.now("default")
    columns: dict[str, Any] = {"attempts": 1}
    if state in ("executed", "cancelled", "discarded"):
        columns |= {state: now, "started": now if state == "executed" else None}
    Job.objects.filter(pk=job.pk).update(**columns)
    Error.objects.create(job=job, exception="past", traceback="")
    job.refresh_from_db()
    return job


def state(job: Job) -> str:
    job.refresh_from_db()
    return job.state


@pytest.mark.parametrize("past", ["failed", "cancelled", "discarded"])
def test_a_job_is_tried_now_and_keeps_its_history(past: str, flush: Flush) -> None:
    job = made(past)
    job.retry()
    assert (job.state, job.attempts, job.errors.count()) == ("failed", 1, 1)
    assert job in Job.objects.due()
    assert job.scheduled is not None
    assert timedelta() <= clock.now("default") - job.scheduled < HOUR
    flush()
    assert (state(job), job.attempts, job.errors.count()) == ("executed", 2, 1)
    assert Note.objects.count() == 1


def test_a_job_that_waits_for_its_time_runs_now(flush: Flush) -> None:
    job = schedule(note, run_after=HOUR)
    job.retry()
    flush()
    assert state(job) == "executed"


@pytest.mark.parametrize("end", ["executed", "gone"])
def test_what_was_executed_is_never_run_again(end: str) -> None:
    job = made("executed")
    if end == "gone":
        Job.objects.all().delete()
    before = list(Job.objects.values())
    for verb in (job.retry, lambda: job.reschedule(HOUR)):
        with pytest.raises(JobEnded, match=str(job.pk)):
            verb()
    assert list(Job.objects.values()) == before


@row_locks
def test_what_is_running_is_left_to_its_attempt() -> None:
    job = made("failed")
    with locked(job), pytest.raises(JobNotRunnable, match=f"{job.pk} is running"):
        job.retry()
    assert job not in Job.objects.due()


def test_what_runs_without_a_transaction_is_left_to_its_attempt() -> None:
    job = made("failed")
    Job.objects.update(started=clock.now("default"))
    with pytest.raises(JobNotRunnable, match=f"{job.pk} is running"):
        job.retry()
    assert Job.objects.retry_failed() == 0


def test_after_its_last_attempt_a_job_gets_one_more(flush: Flush) -> None:
    job = schedule(fail, meta={"max_attempts": 1})
    flush()
    assert state(job) == "discarded"
    job.retry()
    flush()
    assert (state(job), job.attempts, job.errors.count()) == ("discarded", 2, 2)


@pytest.mark.parametrize("aware", [True, False])
def test_a_moment_is_understood_as_schedule_understands_it(aware: bool) -> None:
    moment = datetime(2031, 2, 3, 4, 5, 6, tzinfo=None)
    job, like = made("discarded"), schedule(nothing, run_after=moment)
    assert like.scheduled
    job.reschedule(like.scheduled if aware else moment)
    assert (job.scheduled, job.state) == (like.scheduled, "failed")


def test_a_timedelta_counts_from_now_by_the_databases_clock() -> None:
    job = made("cancelled")
    before = clock.now("default")
    job.reschedule(2 * HOUR)
    assert job.scheduled
    assert before + 2 * HOUR <= job.scheduled <= clock.now("default") + 2 * HOUR


@pytest.mark.parametrize(
    ("when", "error"), [(None, TypeError), (60, TypeError), (timedelta.max, ValueError)]
)
def test_what_is_no_moment_is_refused(when: Any, error: type[Exception]) -> None:
    job = made("cancelled")
    with pytest.raises(error, match="run_after"):
        job.reschedule(when)
    assert state(job) == "cancelled"


def test_it_is_part_of_the_callers_transaction() -> None:
    job = made("discarded")
    with transaction.atomic():
        job.retry()
        Job.objects.retry_failed()
        transaction.set_rollback(True)
    assert state(job) == "discarded"


def test_it_takes_back_what_was_asked_before() -> None:
    job, other, now = made("failed"), made("failed"), clock.now("default")
    with closing(noticeboard("default")) as board:
        board.drop(board.requests())
        board.ask([Cancellation(job_id=one.pk, added=one.added, asked=now) for one in (job, other)])
        job.retry()
        assert [one.job_id for one in board.requests()] == [other.pk]
    Control("default", "4" * 32).beat([])
    assert (state(job), state(other)) == ("failed", "cancelled")


# Groups.


def finished_group(reference: str = "import", end: str = "discarded") -> tuple[Group, Job]:
    """A group that has ended, with a job that ended so."""
    with transaction.atomic():
        group = Group.objects.create(reference=reference)
        job = schedule(note, group=group)
    Job.objects.filter(pk=job.pk).update(**{end: clock.now("default")})
    return group, job


def test_a_group_that_has_ended_is_opened_again(flush: Flush) -> None:
    group, job = finished_group()
    job.retry()
    assert not group.has_completed()
    flush()
    assert group.has_completed()
    assert schedule(note, group="import").group != group


def test_a_final_job_waits_for_a_member_that_is_tried_again(flush: Flush) -> None:
    with transaction.atomic():
        group = Group.objects.create(reference="import")
        members = [schedule(nothing, [n], group=group) for n in range(2)]
        final = schedule(note)
        group.on_completion(final)
    for member in members:
        member.cancel()
    members[0].reschedule(HOUR)
    flush()
    assert state(final) == "due"
    members[0].retry()
    flush()
    assert [state(members[0]), state(members[1]), state(final)] == [
        *("executed", "cancelled", "executed")
    ]


def test_a_reference_does_not_get_a_second_open_group() -> None:
    group, job = finished_group()
    newer = schedule(note, group="import").group
    assert newer != group
    with pytest.raises(ValidationError, match="import"):
        job.retry()
    assert state(job) == "discarded"
    assert Job.objects.retry_failed() == 0
    assert newer is not None
    newer.jobs.get().cancel()
    assert Job.objects.retry_failed() == 1
    assert state(job) == "due"


def test_a_job_of_a_group_that_is_open_needs_no_leave() -> None:
    group, job = finished_group()
    waiting = schedule(nothing)
    Job.objects.filter(pk=waiting.pk).update(group=group)
    job.retry()
    assert (state(job), state(waiting)) == ("due", "due")


@pytest.mark.parametrize("way", ["execute", "worker"])
@pytest.mark.parametrize("meta", [{}, {"atomic": False}], ids=["atomic", "detached"])
@pytest.mark.parametrize("verb", ["retry", "reschedule"])
def test_a_job_cannot_give_itself_another_time(
    verb: str, meta: dict[str, Any], way: str, flush: Flush
) -> None:
    job = made("failed", calls.gives_itself_another_time, args=[verb], meta=meta)
    Job.objects.update(scheduled=None)
    job = attempt(job, way, flush)
    assert f"Job {job.pk} cannot give itself another time" in job.result
    assert (job.state, job.attempts) == ("executed", 2)


# Many.


def test_failing_and_discarded_jobs_are_tried_now_and_counted(flush: Flush) -> None:
    states = ("failed", "discarded", "cancelled", "executed", "failed")
    jobs = {past: made(past) for past in states}
    fresh = schedule(note, run_after=HOUR)
    assert Job.objects.retry_failed() == 3
    assert flush().output.startswith("3 executed")
    assert [state(jobs[past]) for past in states[1:]] == [
        *("executed", "cancelled", "executed", "executed")
    ]
    assert state(fresh) == "scheduled"
    assert Job.objects.retry_failed() == 0


def test_only_the_jobs_of_the_query_are_tried() -> None:
    mail, other = made("discarded", queue="mail"), made("discarded")
    assert Job.objects.filter(queue="mail").retry_failed() == 1
    assert (state(mail), state(other)) == ("failed", "discarded")


@row_locks
def test_what_is_running_is_left_alone_without_waiting() -> None:
    running, waiting = made("failed"), made("failed")
    with locked(running):
        assert Job.objects.retry_failed() == 1
    assert list(Job.objects.due()) == [waiting]


@pytest.mark.parametrize("meta", [{}, {"atomic": False}], ids=["atomic", "detached"])
def test_a_job_that_tries_others_again_leaves_itself_alone(meta: dict[str, Any]) -> None:
    job = made("failed", calls.gives_itself_another_time, args=["retry_failed"], meta=meta)
    other = made("discarded")
    assert job.execute() == 1
    assert (state(job), state(other)) == ("executed", "failed")
    assert other in Job.objects.due()
