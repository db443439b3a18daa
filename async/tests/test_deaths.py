"""A worker's death costs its job one attempt, and nobody else anything."""

from __future__ import annotations

import itertools
import logging
import os
import re
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from django_async import clock, hooks, inquest, liveness, schedule, store, witness
from django_async.models import Group, Job
from forkpool import Ended, InlinePool, Task, WorkerDied
from suite import abuse, jobs
from suite.models import Note
from suite.spying import writing_between
from suite.testing import run_pass
from suite.together import DEADLINE, elsewhere

pytestmark = pytest.mark.django_db(transaction=True)

DEATHS = {
    "SIGKILL": "was killed by SIGKILL",
    "SIGSEGV": "was killed by SIGSEGV",
    "SIGTERM": "was killed by SIGTERM",
    "0": "exited with code 0",
    "3": "exited with code 3",
}

Flush = Callable[..., Any]


def notes() -> list[str]:
    return sorted(Note.objects.values_list("text", flat=True))


@pytest.mark.parametrize("how", DEATHS)
def test_a_death_leaves_an_error_that_names_it_and_no_effects(flush: Flush, how: str) -> None:
    job = schedule(abuse.end_process, [how])
    flushed = flush(workers=1)
    assert flushed.status == 1
    assert DEATHS[how] in flushed.error
    assert f"suite.abuse.end_process('{how}')" in flushed.error
    assert DEATHS[how] in job.errors.get().exception
    assert not notes()


def test_the_first_death_leaves_the_job_due_at_once_with_its_priority(flush: Flush) -> None:
    moment = clock.now("default") - timedelta(hours=1)
    job = schedule(abuse.end_process, ["SIGKILL"], run_after=moment, priority=7)
    flush(workers=1)
    job.refresh_from_db()
    assert (job.attempts, job.priority, job.scheduled) == (1, 7, moment)
    assert job in Job.objects.due()


def test_from_the_second_death_on_the_back_off_applies(flush: Flush) -> None:
    job = schedule(abuse.end_process, ["SIGKILL"])
    before = clock.now("default")
    assert flush(workers=1, keep_going=True).status == 1
    job.refresh_from_db()
    assert (job.attempts, job.priority, job.errors.count()) == (2, 4, 2)
    waits = timedelta(seconds=60 * 2**1.6)
    assert job.scheduled is not None
    assert before + waits <= job.scheduled <= clock.now("default") + waits


def test_an_exception_before_it_does_not_make_a_death_the_second_one(
    flush: Flush, tmp_path: Any
) -> None:
    job = schedule(abuse.fail_then_die, [str(tmp_path)], meta={"backoff": 0})
    flush(workers=1)
    flush(workers=1)
    job.refresh_from_db()
    assert (job.attempts, job.priority, job.errors.count()) == (2, 4, 2)
    assert job in Job.objects.due()


def test_after_its_first_death_a_job_runs_again_in_the_same_pass(
    flush: Flush, tmp_path: Any
) -> None:
    job = schedule(abuse.die_once, [str(tmp_path), "SIGKILL"])
    flushed = flush(workers=2, keep_going=True)
    assert flushed.status == 1
    assert "1 executed, 1 failed, 0 skipped" in flushed.output
    job.refresh_from_db()
    assert (job.state, job.attempts, job.priority) == ("executed", 2, 5)
    assert notes() == ["survived"]


def test_a_death_can_be_the_last_attempt(flush: Flush) -> None:
    job = schedule(abuse.end_process, ["SIGKILL"], meta={"max_attempts": 1})
    flush(workers=1, keep_going=True)
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("discarded", 1)


def test_without_keep_going_a_death_ends_the_pass(flush: Flush) -> None:
    schedule(abuse.end_process, ["SIGKILL"], priority=9)
    schedule(jobs.note)
    assert flush(workers=1).status == 1
    assert not notes()


def test_it_does_so_however_long_its_row_stays_locked(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, looks = store.settle, itertools.count()

    def settle_later(*args: Any) -> Any:
        return store.Settlement.UNDECIDED if next(looks) < 3 else settle(*args)

    monkeypatch.setattr(store, "settle", settle_later)
    schedule(abuse.end_process, ["SIGKILL"], priority=9)
    schedule(jobs.note)
    assert flush(workers=1).status == 1
    assert next(looks) == 4
    assert not notes()


def test_but_a_row_that_somebody_else_holds_keeps_nobody_waiting(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had the same hint, and runs the job for an hour."""
    settle = store.settle
    monkeypatch.setattr(inquest, "PATIENCE", 0.2)

    def settle_after_the_other_job(*args: Any) -> Any:
        return settle(*args) if notes() else store.Settlement.UNDECIDED

    monkeypatch.setattr(store, "settle", settle_after_the_other_job)
    schedule(abuse.end_process, ["SIGKILL"], priority=9)
    schedule(jobs.note)
    assert flush(workers=1).status == 1
    assert len(notes()) == 1


def test_a_death_is_told_with_the_time_that_the_attempt_took(flush: Flush) -> None:
    schedule(abuse.sleep_and_die, [0.2])
    taken = re.search(r"SIGKILL.*\(([\d.]+) s\)", flush(workers=1, verbosity=2).output)
    assert taken
    assert 0.2 <= float(taken[1]) < DEADLINE


def test_other_jobs_are_untouched_and_the_workers_are_replaced(flush: Flush) -> None:
    for how in DEATHS:
        schedule(abuse.end_process, [how], priority=9, meta={"max_attempts": 1})
    others = [schedule(jobs.note, [f"{number:02}"]) for number in range(20)]
    flushed = flush(workers=2, keep_going=True)
    assert "20 executed, 5 failed, 0 skipped" in flushed.output
    assert notes() == [f"{number:02}" for number in range(20)]
    for job in others:
        job.refresh_from_db()
        assert (job.state, job.attempts, job.errors.count()) == ("executed", 1, 0)


def test_a_death_releases_the_final_job_of_its_group(flush: Flush) -> None:
    group = Group.objects.create(reference="g")
    schedule(abuse.end_process, ["SIGKILL"], group=group, meta={"max_attempts": 1})
    group.on_completion(schedule(jobs.note, ["final"]))
    flush(workers=2, keep_going=True)
    assert notes() == ["final"]


def test_a_death_is_logged_as_an_error(flush: Flush, caplog: pytest.LogCaptureFixture) -> None:
    job = schedule(abuse.end_process, ["SIGKILL"])
    flush(workers=1)
    [record] = caplog.records
    assert record.__dict__["job_id"] == job.pk
    assert record.__dict__["job_name"] == "suite.abuse.end_process"
    assert record.name.startswith("django_async")
    assert (record.levelno, bool(record.exc_info)) == (logging.ERROR, True)
    assert "suite.abuse.end_process('SIGKILL')" in record.getMessage()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server to be busy")
def test_a_death_during_a_long_statement_costs_no_wait_for_it(flush: Flush) -> None:
    """The server goes on with a dead client's statement, and holds its locks, unless it is told."""
    schedule(abuse.die_in_statement, [DEADLINE])
    began = clock.now("default")
    assert flush(workers=1).status == 1
    assert clock.now("default") - began < timedelta(seconds=DEADLINE / 2)
    assert "SIGKILL" in Job.objects.get().errors.get().exception


def test_a_copy_of_the_worker_that_a_job_forked_has_no_say(flush: Flush) -> None:
    schedule(abuse.fork_and_return)
    flushed = flush(workers=1)
    assert flushed.output.startswith("1 executed, 0 failed, 0 skipped")
    assert notes() == ["before the fork"]
    assert Job.objects.get().attempts == 1


class DeadlyPool(InlinePool):
    """Whoever takes its first task dies of it, at once and without having claimed the job."""

    def __init__(self) -> None:
        super().__init__()
        self.deadly = True

    def submit(self, function: Callable[..., Any], *args: Any, **limits: float | None) -> Task:
        return super().submit((lambda *_: None) if self.deadly else function, *args, **limits)

    def wait(
        self, timeout: float | None = None, wakeups: Iterable[int] = (), rest: float = 0.0
    ) -> list[Ended]:
        ended = super().wait(timeout, wakeups)
        if self.deadly:
            ended = [replace(one, error=WorkerDied(one.pid, -9)) for one in ended]
            self.deadly = not ended
        return ended


def test_a_job_that_died_takes_its_place_in_the_order_again() -> None:
    """As soon as its lock is free; until then the others go on, which is why nobody dies here."""
    job = schedule(jobs.note, priority=9)
    others = [schedule(jobs.note) for _ in range(3)]
    done = run_pass(others=DeadlyPool())
    assert done.ids == [job.id, job.id, *(other.id for other in others)]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="elsewhere no writer blocks all others")
def test_a_death_is_recorded_as_soon_as_another_writer_lets_it() -> None:
    job = schedule(jobs.note)
    with writing_between("UPDATE async_job SET started", 1, 3):
        done = run_pass(others=DeadlyPool())
    assert (done.summary.executed, done.summary.failed) == (1, 1)
    assert "SIGKILL" in job.errors.get().exception


def test_who_dies_after_the_failure_was_recorded_has_failed(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the parent was never told, it does not say that all went well."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    job = schedule(jobs.fail)
    monkeypatch.setattr(hooks, "run", die)
    flushed = flush(workers=1, keep_going=True)
    assert (flushed.status, flushed.output[:20]) == (1, "0 executed, 1 failed")
    assert (job.errors.count(), Job.objects.get().attempts) == (1, 1)
    assert "ValueError" in job.errors.get().exception


@pytest.mark.parametrize("atomic", [True, False])
def test_who_dies_after_the_commit_has_executed_the_job(
    flush: Flush, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, atomic: bool
) -> None:
    """Of which the summary, the metrics and a limit of jobs know."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    job = schedule(jobs.note, meta={"atomic": atomic})
    schedule(jobs.note, ["not executed"])
    monkeypatch.setattr(witness.Witness, "ended", die)
    flushed = flush(workers=1, jobs=1)
    assert (flushed.status, flushed.output[:21]) == (0, "1 executed, 0 failed,")
    assert notes() == ["noted"]
    assert f"Job {job.pk} was executed before this: WorkerDied" in caplog.text


def test_what_somebody_else_has_executed_is_not_counted_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who had the same hint, while the worker died that was to make the attempt."""
    job = schedule(jobs.note)
    settle = store.settle

    def settle_late(*args: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(liveness, "worker", lambda: "another:1")
            elsewhere(job.execute)
        return settle(*args)

    monkeypatch.setattr(store, "settle", settle_late)
    done = run_pass(others=DeadlyPool())
    assert (done.summary.executed, done.summary.failed) == (0, 0)
    assert notes() == ["noted"]
