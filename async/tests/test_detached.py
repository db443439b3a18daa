"""A job with ``meta={"atomic": False}`` runs outside of any transaction, at least once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_async import clock, schedule
from django_async.api import deschedule
from django_async.errors import JobNotRunnable
from django_async.models import Error, Group, Job
from suite import abuse, alone, interrupted, jobs
from suite.attempts import WAYS, attempt, notes
from suite.together import beside, elsewhere, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]

DETACHED = {"atomic": False}
SERVER = connection.vendor != "sqlite"
has_sessions = pytest.mark.skipif(not SERVER, reason="SQLite has no sessions")


@pytest.mark.parametrize("way", WAYS)
def test_it_runs_outside_of_any_transaction(way: str, flush: Flush) -> None:
    job = attempt(schedule(alone.look_at_transaction, meta=DETACHED), way, flush)
    assert (job.state, job.result, job.attempts) == ("executed", "[false, true, true]", 1)
    assert job.started is not None
    assert job.executed is not None
    assert job.started <= job.executed


def test_everybody_sees_that_it_runs_and_since_when() -> None:
    before = clock.now("default")
    state, attempts, started = schedule(alone.look_at_itself_elsewhere, meta=DETACHED).execute()
    assert (state, attempts) == ("running", 1)
    assert before.isoformat() <= started <= clock.now("default").isoformat()


@pytest.mark.parametrize("way", WAYS)
def test_what_it_committed_stays_when_it_fails(way: str, flush: Flush) -> None:
    job = attempt(schedule(alone.commit_and_fail, meta=DETACHED), way, flush)
    state = (job.state, job.attempts, job.crashes, job.priority, job.started, job.result)
    assert state == ("failed", 1, 0, 4, None, "")
    [error] = job.errors.all()
    assert error.exception == "ValueError('failed')"
    assert "in commit_and_fail" in error.traceback
    assert notes() == ["committed"]


def test_who_executes_it_gets_its_result_or_its_exception() -> None:
    assert schedule(jobs.note, ["result"], meta=DETACHED).execute() == "result"
    with pytest.raises(ValueError, match="failed"):
        schedule(jobs.fail, meta=DETACHED).execute()


@pytest.mark.django_db
def test_in_a_test_case_it_runs_in_the_transaction_of_the_test(flush: Flush) -> None:
    assert schedule(jobs.note, meta=DETACHED).execute() == "noted"
    broken = attempt(schedule(alone.break_constraint, meta=DETACHED), "execute", flush)
    assert broken.state == "failed"
    assert attempt(schedule(alone.commit_and_fail, meta=DETACHED), "flush", flush).attempts == 1
    assert "committed" in notes()


@pytest.mark.parametrize("way", WAYS)
def test_a_result_that_is_no_json_is_a_failure(way: str, flush: Flush) -> None:
    job = attempt(schedule(abuse.return_a_set, meta=DETACHED), way, flush)
    assert (job.state, job.attempts) == ("failed", 1)
    assert "TypeError" in job.errors.get().exception


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", [alone.close_connection, alone.break_statement])
def test_it_ends_well_whatever_it_does_to_its_connection(
    how: Callable[[], Any], way: str, flush: Flush
) -> None:
    job = attempt(schedule(how, meta=DETACHED), way, flush)
    assert (job.state, job.attempts) == ("executed", 1)
    assert attempt(schedule(jobs.note), way, flush).state == "executed"


@has_sessions
@pytest.mark.parametrize("way", WAYS)
def test_it_ends_well_though_the_server_ends_its_session(way: str, flush: Flush) -> None:
    job = attempt(schedule(abuse.lose_session, meta=DETACHED), way, flush)
    assert (job.state, job.attempts) == ("executed", 1)
    assert notes() == ["an effect", "a hook"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["BEGIN", "autocommit"])
def test_a_transaction_that_it_leaves_open_is_rolled_back_and_a_failure(
    how: str, way: str, flush: Flush
) -> None:
    job = attempt(schedule(alone.leave_transaction, [how], meta=DETACHED), way, flush)
    assert job.state == "failed"
    assert "TransactionOpen" in job.errors.get().exception
    assert not notes()
    assert attempt(schedule(jobs.note, meta=DETACHED), way, flush).state == "executed"


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_leaves_autocommit_off_has_failed(way: str, flush: Flush) -> None:
    """Its end would be written into a transaction that nobody commits."""
    job = attempt(schedule(alone.set_autocommit_off, meta=DETACHED), way, flush)
    assert job.state == "failed"
    assert "TransactionOpen" in job.errors.get().exception
    assert notes() == ["committed"]
    assert attempt(schedule(jobs.note, meta=DETACHED), way, flush).state == "executed"


def test_max_attempts_and_the_back_off_hold(flush: Flush) -> None:
    before = clock.now("default")
    job = schedule(jobs.fail, meta={"atomic": False, "max_attempts": 2, "backoff": 100})
    flush()
    job.refresh_from_db()
    assert job.scheduled is not None
    assert before + timedelta(seconds=100) <= job.scheduled
    assert job.scheduled <= clock.now("default") + timedelta(seconds=100)
    Job.objects.update(scheduled=None)
    flush()
    job.refresh_from_db()
    assert (job.state, job.attempts, job.priority, job.errors.count()) == ("discarded", 2, 3, 2)


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_ends_it(way: str, flush: Flush) -> None:
    job = schedule(abuse.sleep, [30], meta={"atomic": False, "timeout": 0.2})
    job = attempt(job, way, flush)
    assert (job.state, job.attempts, job.crashes) == ("failed", 1, 0)
    assert "TaskTimeout" in job.errors.get().exception
    assert notes() == ["slept"]


def test_a_worker_that_does_not_heed_the_timeout_is_killed(flush: Flush, settings: Any) -> None:
    settings.ASYNC = {"TIMEOUT_GRACE": 0.3}
    job = schedule(abuse.ignore_everything, meta={"atomic": False, "timeout": 0.2})
    flush(workers=1)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.priority) == ("failed", 1, 0, 4)
    assert job.errors.get().exception.startswith("TimeLimitExceeded")


@pytest.mark.parametrize("way", WAYS)
def test_an_interruption_cancels_it_and_what_it_committed_stays(way: str, flush: Flush) -> None:
    job = attempt(schedule(interrupted.note_and_interrupt, meta=DETACHED), way, flush)
    assert (job.state, job.attempts, job.started, job.errors.count()) == ("cancelled", 1, None, 1)
    assert notes() == ["before the interrupt"]


def test_a_final_job_waits_for_a_member_without_a_transaction(flush: Flush) -> None:
    group = Group.objects.create(reference="g")
    schedule(alone.note_unfinished_group, group=group, meta=DETACHED)
    group.on_completion(schedule(jobs.note, ["final"], priority=9, meta=DETACHED))
    assert flush().status == 0
    assert notes() == ["the group is open", "final"]


def test_two_never_run_it_at_the_same_time(tmp_path: Path) -> None:
    """Neither one who had the same hint, nor one who finds it begun."""
    job = schedule(alone.wait_for, [str(tmp_path)], meta=DETACHED)
    same = Job.objects.get(pk=job.pk)
    with beside(job.execute) as running:
        wait_until((tmp_path / "began-1").exists, "the start")
        for other in (same, Job.objects.get(pk=job.pk)):
            with pytest.raises(JobNotRunnable):
                other.execute()
        (tmp_path / "go").touch()
        running.result()
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes) == ("executed", 1, 0)
    assert not Error.objects.exists()


def test_it_cannot_execute_itself(tmp_path: Path) -> None:
    job = schedule(alone.execute_itself, meta=DETACHED)
    assert job.execute() == "not runnable"
    job.refresh_from_db()
    assert (job.state, job.attempts, job.errors.count()) == ("executed", 1, 0)


def test_while_it_runs_others_write_and_several_run_side_by_side(tmp_path: Path) -> None:
    """On SQLite too, where a job in a transaction is the one writer."""
    ids = [schedule(abuse.meet, [str(tmp_path), 3], meta=DETACHED).pk for _ in range(3)]
    first, second, third = (Job.objects.get(pk=pk) for pk in ids)
    with beside(first.execute) as one, beside(second.execute) as two:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "two running jobs")
        jobs.note("meanwhile")
        third.execute()
        one.result(), two.result()
    assert Job.objects.executed().count() == 3


def test_deschedule_leaves_it_alone_while_it_runs(tmp_path: Path) -> None:
    args = [str(tmp_path)]
    job = schedule(alone.wait_for, args, meta=DETACHED)
    with beside(job.execute) as running:
        wait_until((tmp_path / "began-1").exists, "the start")
        assert deschedule(alone.wait_for, args) == 0
        (tmp_path / "go").touch()
        running.result()
    job.refresh_from_db()
    assert job.state == "executed"


def test_before_it_runs_it_can_be_descheduled() -> None:
    schedule(jobs.note, meta=DETACHED)
    assert deschedule(jobs.note) == 1


def test_the_row_of_a_running_job_is_not_locked(tmp_path: Path) -> None:
    job = schedule(alone.wait_for, [str(tmp_path)], meta=DETACHED)
    with beside(job.execute) as running:
        wait_until((tmp_path / "began-1").exists, "the start")
        elsewhere(lambda: Job.objects.filter(pk=job.pk).update(priority=7))
        (tmp_path / "go").touch()
        running.result()
    job.refresh_from_db()
    assert (job.state, job.priority) == ("executed", 7)


@pytest.mark.parametrize("atomic", ["no", 0, None, {}])
def test_what_is_neither_true_nor_false_is_refused(atomic: Any) -> None:
    with pytest.raises(ValueError, match=r'meta\["atomic"\] must be True, or False'):
        schedule(jobs.note, meta={"atomic": atomic})
    assert not Job.objects.exists()


def test_true_is_what_a_job_is_anyway(flush: Flush) -> None:
    job = attempt(schedule(jobs.fail, meta={"atomic": True}), "flush", flush)
    assert job.state == "failed"
    assert not notes()


def test_the_lock_of_one_job_is_not_that_of_another(tmp_path: Path) -> None:
    job = schedule(alone.wait_for, [str(tmp_path)], meta=DETACHED)
    with beside(job.execute) as running:
        wait_until((tmp_path / "began-1").exists, "the start")
        assert schedule(jobs.note, meta=DETACHED).execute() == "noted"
        (tmp_path / "go").touch()
        running.result()


def test_a_failure_is_logged_with_the_job(flush: Flush, caplog: pytest.LogCaptureFixture) -> None:
    job = schedule(jobs.fail, meta=DETACHED)
    flush()
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.__dict__["job_id"] == job.pk
    assert "suite.jobs.fail() " not in record.getMessage()
    assert f"Job {job.pk} failed: suite.jobs.fail()" in record.getMessage()
