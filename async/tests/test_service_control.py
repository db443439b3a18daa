"""What runs is seen, cancelled and paused from outside, with all parts of the queue at work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from django_async import schedule
from django_async.api import deschedule, health, resume_queue
from django_async.control import Control
from django_async.management.commands import flush_queue
from django_async.models import Error, Job, Parent
from django_async.noticeboard import noticeboard
from suite import controlled, jobs
from suite.models import Note
from suite.processes import manage
from suite.together import DEADLINE, beside, elsewhere, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]
WAYS = [{}, {"atomic": False}]
in_every_way = pytest.mark.parametrize("meta", WAYS, ids=["atomic", "detached"])
ME = "7" * 32


@pytest.fixture(autouse=True)
def _cleared() -> Iterator[None]:
    """What other tests have left is gone, and nothing is left for others."""
    controlled.forget_begun()
    with closing(noticeboard("default")) as board:
        board.erase({run.parent_id for run in board.runs()})
        board.drop(board.requests())
        yield
        assert board.runs() == []
        assert board.requests() == []


def cancel_as_it_runs(job: Job) -> bool:
    controlled.wait_for_begin()
    return cancel_when_seen(job)


def cancel_when_seen(job: Job) -> bool:
    wait_until(lambda: job in Job.objects.running(), "the job's run")
    return Job.objects.get(pk=job.pk).cancel()


def look_as_it_runs(job: Job) -> dict[str, Any]:
    """Health, as soon as the job's progress is to be seen; then cancel it."""

    def progress() -> bool:
        return any(run["message"] for run in health()["queue"]["running"])

    controlled.wait_for_begin()
    wait_until(progress, "the job's progress")
    told = health()
    job.cancel()
    return told


def assert_cancelled(job: Job) -> None:
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes) == ("cancelled", 1, 0)
    assert job.errors.get().exception.startswith("Cancelled(")


@in_every_way
def test_a_running_job_is_interrupted_and_ends_cancelled(
    flush: Flush, meta: dict[str, Any]
) -> None:
    job, other = schedule(controlled.work, meta=meta, priority=9), schedule(jobs.note)
    with beside(cancel_as_it_runs, job) as asked:
        flushed = flush(workers=2)
        assert asked.result(DEADLINE) is False
    assert "1 executed, 0 failed, 1 cancelled" in flushed.output
    assert_cancelled(job)
    other.refresh_from_db()
    assert other.state == "executed"
    assert ("begun" in Note.objects.values_list("text", flat=True)) is bool(meta)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite runs one job at a time")
def test_exactly_one_of_two_like_jobs_is_interrupted(flush: Flush) -> None:
    first, job = schedule(controlled.work), schedule(controlled.work)

    def cancel_both() -> tuple[bool, bool]:
        cancel_as_it_runs(job)
        wait_until(lambda: Job.objects.get(pk=job.pk).cancelled, "the end of the one")
        return first in Job.objects.running(), cancel_as_it_runs(first)

    with beside(cancel_both) as asked:
        flush(workers=2)
        assert asked.result(DEADLINE) == (True, False)
    assert_cancelled(job)
    assert_cancelled(first)


def test_a_job_that_does_not_heed_it_loses_its_worker(flush: Flush, settings: Any) -> None:
    settings.ASYNC = {"TIMEOUT_GRACE": 0.2}
    job = schedule(controlled.work, kwargs={"stubborn": True})
    with beside(cancel_as_it_runs, job):
        flush(workers=1)
    assert_cancelled(job)
    assert not Note.objects.exists()


@in_every_way
def test_a_job_that_cannot_be_interrupted_where_it_hangs_loses_its_worker_too(
    flush: Flush, monkeypatch: pytest.MonkeyPatch, meta: dict[str, Any]
) -> None:
    monkeypatch.setattr(flush_queue, "PATIENCE_WITH_THE_CANCELLED", 0.5)
    job = schedule(controlled.fail_and_hang, meta=meta)
    with beside(cancel_as_it_runs, job):
        flush(workers=1)
    assert_cancelled(job)


@in_every_way
def test_a_job_of_another_process_is_cancelled_from_here(meta: dict[str, Any]) -> None:
    job = schedule(controlled.work, meta=meta)
    with manage("flush_queue", "--workers", "1") as process:
        cancel_when_seen(job)
        process.wait(DEADLINE)
        assert process.returncode == 0
    assert_cancelled(job)


def test_descheduling_running_jobs_too_ends_them(flush: Flush) -> None:
    job = schedule(controlled.work)

    def end() -> int:
        controlled.wait_for_begin()
        wait_until(lambda: job in Job.objects.running(), "the job's run")
        return deschedule(controlled.work, running=True)

    with beside(end) as asked:
        flush(workers=1)
        assert asked.result(DEADLINE) == 1
    assert_cancelled(job)


def test_a_job_that_fails_before_it_is_interrupted_is_not_tried_again(flush: Flush) -> None:
    job = schedule(controlled.fail_slowly, meta={"backoff": 0, "max_attempts": 9})
    with beside(cancel_as_it_runs, job):
        flush(workers=1, keep_going=True)
    flush(workers=1, keep_going=True)
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert job.attempts <= 2


def test_what_was_asked_of_a_parent_that_died_is_done_by_the_next_one(flush: Flush) -> None:
    job = schedule(controlled.work)
    with manage("flush_queue", "--workers", "1") as process:
        wait_until(lambda: job in Job.objects.running(), "the job's run")
        os.kill(process.pid, signal.SIGSTOP)  # or it might heed the request
        assert Job.objects.get(pk=job.pk).cancel() is False
        os.kill(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)
    wait_until(lambda: elsewhere(runs_told_as) == ["dead"], "the death to be seen")
    assert job not in Job.objects.running()
    flush(workers=1)
    job.refresh_from_db()
    assert (job.state, job.attempts, Note.objects.count()) == ("cancelled", 0, 0)
    assert not Error.objects.exists()


def runs_told_as() -> list[str]:
    return [run["parent"] for run in health()["queue"]["running"]]


def test_what_runs_is_told_with_its_progress_and_forgotten_after(flush: Flush) -> None:
    job = schedule(controlled.work)
    with beside(look_as_it_runs, job) as looked:
        flush(workers=1)
        told = looked.result(DEADLINE)
    [run] = told["queue"]["running"]
    assert (run["id"], run["attempt"], run["parent"]) == (job.pk, 1, "alive")
    assert (run["done"], run["total"], run["message"]) == (1.0, 2.0, "half")
    assert run["pid"] != os.getpid()
    assert run["seconds"] >= 0.25
    [parent] = told["parents"]
    assert (parent["pid"], parent["parent"]) == (os.getpid(), "alive")
    assert health()["queue"]["running"] == []
    assert health()["parents"] == []


@pytest.mark.parametrize("workers", [0, 1])
def test_after_a_pause_nothing_more_is_handed_out(flush: Flush, workers: int) -> None:
    schedule(controlled.pause_own_queue, priority=9)
    held = [schedule(jobs.note) for _ in range(5)]
    other = schedule(jobs.note, queue="other")
    assert flush(workers=workers).output.startswith("2 executed, 0 failed")
    other.refresh_from_db()
    assert other.state == "executed"
    assert set(Job.objects.pending()) == set(held)
    assert "0 executed" in flush().output
    resume_queue("default")
    assert flush().output.startswith("5 executed")


def test_a_living_parent_strikes_out_what_a_dead_one_showed() -> None:
    job = schedule(controlled.work)
    with manage("flush_queue", "--workers", "1") as process:
        wait_until(lambda: job in Job.objects.running(), "the job's run")
        control = Control("default", ME)
        control.beat([])
        process.kill()
        process.wait(DEADLINE)

    def struck_out() -> bool:
        control.beat([])
        return control.board.runs() == []

    wait_until(struck_out, "the end of the dead parent's notice")
    control.clear()
    assert Parent.objects.count() == 1
