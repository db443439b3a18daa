"""An attempt that was interrupted because somebody asked for its end is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from django_async import clock, schedule
from django_async.models import Group, Job
from forkpool import Ended, InlinePool, Task, TaskInterrupted, WorkerInterrupted
from suite import interrupted, jobs
from suite.attempts import WAYS, assert_no_effects, assert_one_failure, attempt, notes
from suite.testing import run_pass

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]


def assert_cancelled(job: Job, attempts: int = 1) -> None:
    job.refresh_from_db()
    found = (job.state, job.attempts, job.crashes, job.priority, job.started, job.result)
    assert found == ("cancelled", attempts, 0, 5, None, "")
    assert job.errors.count() == attempts


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_job_is_cancelled_with_an_error_and_no_effects(
    way: str, flush: Flush
) -> None:
    before = clock.now("default")
    job = attempt(schedule(interrupted.interrupt), way, flush)
    assert_cancelled(job)
    assert job.cancelled is not None
    assert before <= job.cancelled <= clock.now("default")
    [error] = job.errors.all()
    assert error.exception.startswith("Cancelled(")
    assert "in interrupt" in error.traceback
    assert_no_effects()


def test_it_is_never_tried_again_and_no_failure_of_the_pass(flush: Flush) -> None:
    job = schedule(interrupted.interrupt)
    schedule(jobs.note)
    flushed = flush(verbosity=2)
    assert flushed.status == 0
    assert "1 executed, 0 failed, 1 cancelled, 0 skipped" in flushed.output
    assert f"{job.pk}: suite.interrupted.interrupt() cancelled" in flushed.output
    assert "0 executed" in flush().output
    assert_cancelled(job)


def test_who_executes_a_job_by_hand_is_told_of_the_interruption() -> None:
    with pytest.raises(TaskInterrupted):
        schedule(interrupted.interrupt).execute()


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_fails_of_its_interruption_is_cancelled_too(way: str, flush: Flush) -> None:
    """Its clean-up failed, or it says in other words what happened."""
    job = attempt(schedule(interrupted.fail_of_interruption), way, flush)
    assert_cancelled(job)
    assert "ValueError" in job.errors.get().traceback


def test_a_job_that_is_through_with_its_interruption_fails_as_any_other(flush: Flush) -> None:
    job = attempt(schedule(interrupted.swallow_and_fail), "flush", flush)
    assert job.state == "failed"
    assert "ValueError" in job.errors.get().exception


def test_a_job_that_swallows_its_interruption_and_returns_is_executed(flush: Flush) -> None:
    assert attempt(schedule(interrupted.swallow), "flush", flush).state == "executed"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (interrupted.raise_it_oneself, "TaskInterrupted()"),
        (interrupted.fail_of_ones_own, "ValueError('of its own')"),
    ],
)
def test_an_interruption_that_nobody_asked_for_is_a_failure_as_any_other(
    function: Callable[..., Any], said: str, way: str, flush: Flush
) -> None:
    job = attempt(schedule(function), way, flush)
    assert_one_failure(job, said)
    assert f"in {function.__name__}" in job.errors.get().traceback
    assert_no_effects()


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "detached"])
def test_that_one_job_was_interrupted_says_nothing_of_the_next_one(
    flush: Flush, *, atomic: bool
) -> None:
    jobs = [schedule(one) for one in (interrupted.interrupt, interrupted.raise_it_oneself)]
    Job.objects.update(meta="{}" if atomic else '{"atomic": false}')
    flush(workers=1, keep_going=True)
    assert [Job.objects.get(pk=job.pk).state for job in jobs] == ["cancelled", "failed"]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no sessions")
@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_lost_its_session_to_the_interruption_is_cancelled(
    way: str, flush: Flush
) -> None:
    job = attempt(schedule(interrupted.lose_session_and_interrupt), way, flush)
    assert_cancelled(job)
    assert not notes()


def test_a_cancelled_member_releases_the_final_job_of_its_group(flush: Flush) -> None:
    group = Group.objects.create(reference="g")
    schedule(interrupted.interrupt, group=group)
    group.on_completion(schedule(jobs.note, ["final"]))
    assert flush().status == 0
    assert notes() == ["final"]


class InterruptingPool(InlinePool):
    """Its worker holds its first task, was interrupted, did not heed it, and was killed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = True

    def submit(self, function: Callable[..., Any], *args: Any, **limits: float | None) -> Task:
        return super().submit((lambda *_: None) if self.first else function, *args, **limits)

    def wait(
        self, timeout: float | None = None, wakeups: Any = (), rest: float = 0.0
    ) -> list[Ended]:
        ended = super().wait(timeout)
        if self.first and ended:
            self.first = False
            return [Ended(one.task, one.pid, error=WorkerInterrupted(one.pid, -9)) for one in ended]
        return ended


def test_a_job_whose_worker_was_killed_since_it_did_not_heed_is_cancelled() -> None:
    job = schedule(jobs.note, priority=5)
    other = schedule(jobs.note, ["after it"])
    done = run_pass(others=InterruptingPool())
    assert done.ids == [job.id, other.id]
    summary = done.summary
    assert (summary.executed, summary.failed, summary.cancelled) == (1, 0, 1)
    assert_cancelled(job)
    assert "Cancelled(" in job.errors.get().exception
