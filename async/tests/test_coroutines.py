"""A job may be ``async def``: it runs to its end in the worker, in the job's transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_async import coroutines, schedule, worker
from django_async.forking import close_connections
from django_async.hints import Hint
from django_async.models import Job
from django_async.outcomes import Cancelled
from forkpool import ForkPool, TaskTimeout
from suite import asynchronous, jobs
from suite.attempts import WAYS, assert_one_failure, attempt, notes
from suite.together import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]

FORMS = [True, False]
"""In a transaction, and without one."""


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Any:
    before = threading.enumerate()
    yield
    wait_until(lambda: threading.enumerate() == before, "the end of threads")
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@pytest.mark.parametrize("atomic", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_a_coroutine_runs_to_its_end(way: str, atomic: bool, flush: Flush) -> None:
    job = attempt(schedule(asynchronous.anote, ["x"], meta={"atomic": atomic}), way, flush)
    assert (job.state, job.attempts, job.result) == ("executed", 1, '"x"')
    assert notes() == ["x"]


@pytest.mark.parametrize("way", WAYS)
def test_its_effects_roll_back_with_the_job(way: str, flush: Flush) -> None:
    job = attempt(schedule(asynchronous.note_and_fail), way, flush)
    assert_one_failure(job, "ValueError('failed')")
    assert "in note_and_fail" in job.errors.get().traceback
    assert not notes()
    assert Job.objects.count() == 1


@pytest.mark.parametrize("way", WAYS)
def test_without_a_transaction_its_effects_stay(way: str, flush: Flush) -> None:
    job = schedule(asynchronous.note_and_fail, meta={"atomic": False})
    assert attempt(job, way, flush).state == "failed"
    assert notes() == ["failed"]
    assert Job.objects.count() == 2


@pytest.mark.parametrize("atomic", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_its_calls_to_the_orm_are_made_in_the_jobs_thread_and_transaction_and_know_the_job(
    way: str, atomic: bool, flush: Flush
) -> None:
    job = attempt(schedule(asynchronous.look_around, meta={"atomic": atomic}), way, flush)
    assert job.result == f'[{job.pk}, {job.pk}, true, {str(atomic).lower()}, "set"]'


def test_what_it_sets_in_its_context_is_not_the_next_jobs(flush: Flush) -> None:
    schedule(asynchronous.look_around)
    flush()
    assert asynchronous._variable.get() == "unset"


def test_it_may_do_several_things_at_once() -> None:
    assert schedule(asynchronous.gather).execute() == 5


def test_it_may_use_savepoints() -> None:
    assert schedule(asynchronous.use_transactions).execute() == ["kept"]


def test_a_function_that_returns_a_coroutine_is_as_good() -> None:
    assert schedule(asynchronous.make_coroutine, ["made"]).execute() == "made"
    assert notes() == ["made"]


@pytest.mark.parametrize("way", WAYS)
def test_whatever_it_raises_is_a_failure_of_the_job(way: str, flush: Flush) -> None:
    job = attempt(schedule(asynchronous.raise_base), way, flush)
    assert_one_failure(job, "KeyboardInterrupt")
    assert not notes()


def test_a_task_that_it_leaves_is_cancelled(tmp_path: Path, flush: Flush) -> None:
    job = attempt(schedule(asynchronous.leave_task, [str(tmp_path)]), "worker", flush)
    assert (job.state, job.result) == ("executed", '"left"')
    assert (tmp_path / "cancelled").exists()


@pytest.mark.django_db
def test_in_a_test_case_it_sees_what_the_test_has_done() -> None:
    jobs.note("of the test")
    assert schedule(asynchronous.gather).execute() == 6


@pytest.mark.parametrize("atomic", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_the_timeout_cancels_it_and_its_finally_blocks_run(
    way: str, atomic: bool, flush: Flush, tmp_path: Path
) -> None:
    meta = {"timeout": 0.3, "atomic": atomic}
    job = attempt(schedule(asynchronous.dawdle, [str(tmp_path)], meta=meta), way, flush)
    assert (job.state, job.attempts, job.crashes) == ("failed", 1, 0)
    [error] = job.errors.all()
    assert "TaskTimeout" in error.exception
    assert "in dawdle" in error.traceback
    assert (tmp_path / "cancelled").exists()
    assert (tmp_path / "finally").exists()
    assert notes() == ([] if atomic else ["begun", "finally"])


@pytest.mark.parametrize("way", WAYS)
def test_the_timeout_strikes_in_a_synchronous_call_that_it_awaits(
    way: str, flush: Flush, tmp_path: Path
) -> None:
    meta = {"timeout": 0.3}
    job = attempt(schedule(asynchronous.dawdle_in_call, [str(tmp_path)], meta=meta), way, flush)
    assert_one_failure(job, "TaskTimeout")
    assert (tmp_path / "finally").exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="MariaDB's driver waits in C")
def test_the_timeout_strikes_in_a_statement(flush: Flush, tmp_path: Path) -> None:
    call = schedule(asynchronous.dawdle_in_statement, [str(tmp_path), 30], meta={"timeout": 0.3})
    assert_one_failure(attempt(call, "worker", flush), "TaskTimeout")
    assert (tmp_path / "finally").exists()


def test_a_timeout_is_raised_to_who_executes_it_by_hand(tmp_path: Path) -> None:
    job = schedule(asynchronous.dawdle, [str(tmp_path)], meta={"timeout": 0.3})
    with pytest.raises(TaskTimeout):
        job.execute()
    assert schedule(jobs.note).execute() == "noted"


def test_it_never_begins_if_its_time_is_up_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(seconds: float | None) -> Any:
        raise TaskTimeout(0.0)

    monkeypatch.setattr(coroutines, "soft_time_limit", strike)
    with pytest.raises(TaskTimeout):
        schedule(asynchronous.dawdle, [str(tmp_path)], meta={"atomic": False}).execute()
    assert not (tmp_path / "began").exists()
    assert not notes()


@pytest.mark.parametrize("atomic", FORMS)
@pytest.mark.parametrize("function", [asynchronous.dawdle, asynchronous.dawdle_in_call])
def test_an_interrupt_cancels_it_and_its_finally_blocks_run(
    function: Callable[..., Any], atomic: bool, tmp_path: Path
) -> None:
    job = schedule(function, [str(tmp_path)], meta={"atomic": atomic})
    hint = Hint(job.pk, 0, job.priority, None, None, job.meta)
    with ForkPool(1, initializer=worker.begin, before_fork=close_connections) as pool:
        while not pool.idle:
            pool.wait(1)
        task = pool.submit(worker.attempt, hint, "default", None)
        wait_until((tmp_path / "began").exists, "the start")
        pool.interrupt(task.number)
        [ended] = pool.wait(30)
    assert isinstance(ended.value, Cancelled)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.errors.count()) == ("cancelled", 1, 1)
    assert (tmp_path / "finally").exists()
