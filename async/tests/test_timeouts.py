"""How long a job may run, and what ends one that runs longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from django_async import conf, policy, schedule
from django_async.management.arguments import read_size
from django_async.models import Job
from forkpool import TaskTimeout
from suite import abuse, jobs
from suite.attempts import attempt, notes
from suite.together import DEADLINE

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]

ON_POSTGRESQL = connection.vendor == "postgresql"


@pytest.mark.parametrize("way", ["execute", "flush", "worker"])
def test_a_timeout_ends_the_job_and_leaves_an_error_with_its_limit(way: str, flush: Flush) -> None:
    job = attempt(schedule(abuse.sleep, [DEADLINE], meta={"timeout": 0.2}), way, flush)
    assert (job.state, job.attempts, job.crashes, job.priority) == ("failed", 1, 0, 4)
    [error] = job.errors.all()
    assert "TaskTimeout" in error.exception
    assert "0.2" in error.exception
    assert "in sleep" in error.traceback
    assert not notes()


def test_a_timeout_is_raised_to_who_executes_a_job_by_hand() -> None:
    with pytest.raises(TaskTimeout):
        schedule(abuse.sleep, [DEADLINE], meta={"timeout": 0.2}).execute()


@pytest.mark.parametrize("way", ["flush", "worker"])
def test_a_timeout_cannot_be_swallowed_as_an_exception(way: str, flush: Flush) -> None:
    job = attempt(schedule(abuse.swallow_exceptions, [DEADLINE], meta={"timeout": 0.2}), way, flush)
    assert job.state == "failed"
    assert "TaskTimeout" in job.errors.get().exception


def test_a_timeout_inside_a_statement_is_recorded_as_for_a_lost_connection(
    flush: Flush, settings: Any
) -> None:
    """PostgreSQL's statement is cut off. That of MariaDB cannot be: the parent ends the worker."""
    settings.ASYNC = {"TIMEOUT_GRACE": 0.3}
    job = schedule(abuse.sleep_in_statement, [DEADLINE], meta={"timeout": 0.2})
    other = schedule(jobs.note, ["after it"], priority=1)
    flushed = flush(workers=1, keep_going=True)
    assert flushed.output.startswith("1 executed, 1 failed")
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes) == ("failed", 1, 0)
    [error] = job.errors.all()
    in_c = connection.vendor == "mysql"
    assert error.exception.startswith("TimeLimitExceeded" if in_c else "TaskTimeout")
    other.refresh_from_db()
    assert other.state == "executed"
    assert notes() == ["after it"]


@pytest.mark.parametrize("how", [abuse.ignore_everything, abuse.loop_in_c])
def test_who_does_not_heed_the_timeout_is_killed(
    how: Callable[..., Any], flush: Flush, settings: Any
) -> None:
    settings.ASYNC = {"TIMEOUT_GRACE": 0.3}
    job = schedule(how, meta={"timeout": 0.2})
    schedule(jobs.note, ["after it"], priority=1)
    flushed = flush(workers=1, keep_going=True)
    assert flushed.output.startswith("1 executed, 1 failed")
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.priority) == ("failed", 1, 0, 4)
    assert job not in Job.objects.due()
    [error] = job.errors.all()
    assert error.exception.startswith("TimeLimitExceeded")
    assert "0.5" in error.exception
    assert notes() == ["after it"]


def test_the_timeout_is_over_when_the_job_returns(flush: Flush) -> None:
    """What comes after it, up to the COMMIT and its hooks, is not cut off."""
    job = schedule(abuse.sleep_in_hook, [0.4], meta={"timeout": 0.2})
    assert flush(workers=1).status == 0
    job.refresh_from_db()
    assert job.state == "executed"
    assert notes() == ["slept"]


@pytest.mark.skipif(not ON_POSTGRESQL, reason="only PostgreSQL ends idle transactions by the job")
def test_a_transaction_may_be_idle_a_little_longer_than_the_timeout(flush: Flush) -> None:
    job = schedule(abuse.read_setting, ["idle_in_transaction_session_timeout"], meta={"timeout": 7})
    assert flush(workers=1).status == 0
    job.refresh_from_db()
    assert job.result == '"17s"'
    plain = schedule(abuse.read_setting, ["idle_in_transaction_session_timeout"])
    flush(workers=1)
    plain.refresh_from_db()
    assert plain.result == '"3610s"'


@pytest.mark.django_db
def test_a_test_cases_transaction_gets_no_limit() -> None:
    before = abuse.read_setting("idle_in_transaction_session_timeout") if ON_POSTGRESQL else None
    assert schedule(jobs.note, meta={"timeout": 7}).execute() == "noted"
    if ON_POSTGRESQL:
        assert abuse.read_setting("idle_in_transaction_session_timeout") == before


def test_metas_timeout_goes_before_the_settings(settings: Any) -> None:
    assert policy.timeout("{}") == 3600
    settings.ASYNC = {"TIMEOUT": 5}
    assert policy.timeout("{}") == 5
    assert policy.timeout('{"timeout": 60}') == 60
    assert policy.timeout('{"timeout": "soon"}') == 5
    assert policy.timeout("no JSON") == 5
    assert policy.timeout('{"timeout": 1e300}') == conf.LONGEST_TIMEOUT
    settings.ASYNC = {"TIMEOUT": None}
    assert policy.timeout("{}") is None


@pytest.mark.parametrize("seconds", [1e300, 10**300, 2**62])
def test_times_beyond_any_timer_are_as_good_as_never(settings: Any, seconds: float) -> None:
    settings.ASYNC = {key.upper(): seconds for key in conf.TIMES}
    found = conf.current()
    for key in conf.TIMES:
        longest = conf.LONGEST_RETENTION if key == "retention" else conf.LONGEST_TIMEOUT
        assert getattr(found, key) == longest
    assert policy.timeout("{}") == policy.timeout('{"timeout": 1e300}') == conf.LONGEST_TIMEOUT
    assert schedule(jobs.note).execute() == "noted"


@pytest.mark.parametrize("timeout", [0, -1, True, "5", float("inf")])
def test_a_timeout_that_is_none_is_refused_when_the_job_is_scheduled(timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        schedule(jobs.note, meta={"timeout": timeout})
    assert not Job.objects.exists()


def test_a_job_that_would_need_more_memory_than_allowed_fails(flush: Flush) -> None:
    job = schedule(abuse.take_memory, [4 << 30])
    schedule(jobs.note, ["after it"], priority=1)
    flushed = flush(workers=1, keep_going=True, memory_limit=3 << 30)
    assert flushed.output.startswith("1 executed, 1 failed")
    [error] = job.errors.all()
    assert "MemoryError" in error.exception
    assert "limit" in error.traceback
    assert notes() == ["after it"]


def test_a_worker_that_lacks_memory_is_replaced_so_that_the_next_job_has_it(flush: Flush) -> None:
    greedy = schedule(abuse.keep_address_space, [2 << 30])
    starved = schedule(abuse.keep_address_space, [2 << 30], meta={"backoff": 0})
    last = schedule(abuse.keep_address_space, [2 << 30], priority=-9)
    flush(workers=1, keep_going=True, memory_limit=3 << 30)
    assert "MemoryError" in starved.errors.get().exception
    last.refresh_from_db()
    greedy.refresh_from_db()
    assert (greedy.state, last.state) == ("executed", "executed")
    assert greedy.result != last.result


def test_a_worker_that_has_grown_is_replaced_after_its_job(flush: Flush) -> None:
    pids = [schedule(abuse.keep_memory, [300 << 20]) for _ in range(2)]
    assert flush(workers=1, max_memory_per_worker=250 << 20).status == 0
    assert len(set(Job.objects.filter(pk__in=[job.pk for job in pids]).values_list("result"))) == 2


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("200M", 200 << 20), ("1g", 1 << 30), ("64K", 64 << 10)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1T", "1.5G", "0"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="size"):
        call_command("flush_queue", f"--memory-limit={text}")
