"""The log's record of each attempt that ended, and the figures in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_async import clock, schedule
from django_async.models import Job
from suite import abuse, interrupted, jobs

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """What the logger of jobs has recorded until then."""
    caplog.set_level(logging.INFO, "django_async.jobs")

    def found() -> list[dict[str, Any]]:
        return [vars(one) for one in caplog.records if one.name == "django_async.jobs"]

    return found


def figures(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[key] for key in ("job_id", "job_name", "queue", "attempt", "outcome"))


both_kinds = pytest.mark.parametrize("atomic", [True, False])


@both_kinds
def test_an_executed_job_has_one_record_with_its_figures(
    flush: Flush, records: Any, atomic: bool
) -> None:
    meta = {"atomic": atomic}
    job = schedule(jobs.note, run_after=timedelta(minutes=-5), queue="urgent", meta=meta)
    flush()
    [record] = records()
    assert record["levelno"] == logging.INFO
    assert figures(record) == (job.id, "suite.jobs.note", "urgent", 1, "executed")
    assert 300 <= record["wait_seconds"] < 330
    assert 0 < record["run_seconds"] < 30


def test_a_job_without_a_time_waits_from_when_it_was_added(flush: Flush, records: Any) -> None:
    schedule(jobs.note)
    Job.objects.update(added=clock.now("default") - timedelta(seconds=40))
    flush()
    [record] = records()
    assert 40 <= record["wait_seconds"] < 70


def test_a_job_that_is_not_due_yet_has_not_waited(records: Any) -> None:
    schedule(jobs.note, run_after=timedelta(hours=1)).execute()
    [record] = records()
    assert record["wait_seconds"] == 0


@both_kinds
def test_a_failed_job_has_one_record_with_its_figures_and_its_traceback(
    flush: Flush, records: Any, atomic: bool
) -> None:
    meta = {"max_attempts": 2, "backoff": 0, "atomic": atomic}
    job = schedule(jobs.fail, ["reason"], meta=meta)
    flush()
    flush()
    first, second = records()
    assert figures(first) == (job.id, "suite.jobs.fail", "default", 1, "failed")
    assert figures(second) == (job.id, "suite.jobs.fail", "default", 2, "discarded")
    assert (first["levelno"], str(first["exc_info"][1])) == (logging.ERROR, "reason")


@both_kinds
def test_a_job_that_was_cancelled_while_it_ran_has_one_record(
    flush: Flush, records: Any, atomic: bool
) -> None:
    job = schedule(interrupted.interrupt, meta={"atomic": atomic})
    flush()
    [record] = records()
    assert figures(record) == (job.id, "suite.interrupted.interrupt", "default", 1, "cancelled")
    assert record["levelno"] == logging.WARNING


def test_a_job_whose_commit_failed_has_one_record(flush: Flush, records: Any) -> None:
    job = schedule(abuse.break_foreign_key)
    flush()
    [record] = records()
    assert figures(record) == (job.id, "suite.abuse.break_foreign_key", "default", 1, "failed")


@both_kinds
def test_a_job_whose_worker_died_has_one_record(flush: Flush, records: Any, atomic: bool) -> None:
    job = schedule(jobs.die, queue="deadly", meta={"atomic": atomic})
    flush(workers=1, jobs=1)
    [record] = records()
    assert figures(record) == (job.id, "suite.jobs.die", "deadly", 1, "failed")
    assert (record["wait_seconds"], record["run_seconds"] > 0) == (None, True)


def test_the_death_of_a_job_without_a_transaction_that_nobody_saw_has_one_record(
    flush: Flush, records: Any
) -> None:
    """Whoever finds it told as running, and its owner gone, records what it finds."""
    job = schedule(jobs.note, meta={"atomic": False})
    Job.objects.update(started=clock.now("default") - timedelta(hours=1), attempts=1)
    flush()
    [record] = records()
    assert figures(record) == (job.id, "suite.jobs.note", "default", 1, "failed")
    assert record["wait_seconds"] is None
    assert "WorkerDied" in record["message"]


def test_a_filter_of_the_log_that_raises_harms_no_job(flush: Flush) -> None:
    def refuse(_: logging.LogRecord) -> bool:
        raise ValueError("the filter's own")

    logger = logging.getLogger("django_async.jobs")
    logger.addFilter(refuse)
    try:
        failing, noting = schedule(jobs.fail), schedule(jobs.note)
        flush(keep_going=True)
    finally:
        logger.removeFilter(refuse)
    assert [Job.objects.get(pk=job.pk).state for job in (failing, noting)] == ["failed", "executed"]


def test_a_job_that_could_not_be_claimed_has_none(records: Any) -> None:
    job = schedule(jobs.note)
    Job.objects.update(cancelled=clock.now("default"))
    with pytest.raises(Exception, match="cancelled"):
        job.execute()
    assert records() == []
