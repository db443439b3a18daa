"""What a failed attempt leaves: its error, the next time, a lower priority, or a discarded job."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from django_async import clock, payload, policy, schedule
from django_async.errors import StopNow, chain
from django_async.models import Job
from django_async.outcomes import Failure
from suite import abuse, jobs
from suite.attempts import assert_one_failure, attempt, notes

pytestmark = pytest.mark.django_db

Run = Callable[[Job], Job]


@pytest.fixture(
    params=[
        "execute",
        "flush",
        pytest.param("worker", marks=pytest.mark.django_db(transaction=True)),
    ]
)
def run(request: pytest.FixtureRequest, flush: Callable[..., Any]) -> Run:
    """Attempt the job once, and return it as it is then."""
    return partial(attempt, way=request.param, flush=flush)


def test_a_failure_lowers_the_priority_and_waits_longer_each_time(run: Run) -> None:
    job = schedule(jobs.fail)
    for attempts, delay in enumerate([60.0, 60 * 2**1.6, 60 * 3**1.6], start=1):
        before = clock.now("default")
        job = run(job)
        assert job.scheduled is not None
        waits = timedelta(seconds=delay)
        assert before + waits <= job.scheduled <= clock.now("default") + waits
        assert (job.attempts, job.priority, job.errors.count()) == (
            attempts,
            5 - attempts,
            attempts,
        )
        Job.objects.update(scheduled=None)
        job = Job.objects.get()
    assert not notes()


def test_the_traceback_shows_lines_and_no_values_of_variables(run: Run) -> None:
    [error] = run(schedule(abuse.secret)).errors.all()
    assert "in secret" in error.traceback
    assert "raise ValueError" in error.traceback
    assert "hunter2" not in error.traceback + error.exception


def test_an_exception_of_any_text_is_kept_and_cut(run: Run) -> None:
    job = run(schedule(abuse.raise_odd_text))
    assert_one_failure(job, "ValueError('nul \\x00 lone \\ud800 line\\nbreak xxx")
    [error] = job.errors.all()
    assert "more characters" in error.exception
    assert "in raise_odd_text" in error.traceback
    assert len(error.exception) < 200_000 > len(error.traceback)


def test_an_operator_who_asks_while_an_exception_is_told_is_heard() -> None:
    """What its repr() raises may be anything, and is its own affair; this is not."""

    class Slow(Exception):
        def __repr__(self) -> str:
            raise StopNow

    with pytest.raises(StopNow):
        Failure.of(Slow())


def test_a_job_is_discarded_after_as_many_failures_as_it_may_have(run: Run) -> None:
    job = run(schedule(jobs.fail, meta={"max_attempts": 2}))
    assert job.state == "failed"
    Job.objects.update(scheduled=None)
    job = run(Job.objects.get())
    assert job.state == "discarded"
    assert (job.attempts, job.errors.count()) == (2, 2)
    assert not notes()


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        (0, 0),
        (7.5, 7.5),
        ("suite.abuse.backoff", 1000),
        (1e12, 10 * 365 * 86_400),
        ("suite.abuse.backoff_raises", 60),
        ("suite.abuse.backoff_exits", 60),
        ("suite.abuse.backoff_in_words", 60),
        ("suite.abuse.backoff_beyond_measure", 60),
        ("suite.abuse.backoff_breaks_transaction", 60),
        ("suite.abuse.nowhere", 60),
    ],
)
def test_a_back_off_is_obeyed_and_a_broken_one_replaced_by_the_default(
    run: Run, backoff: float | str, seconds: float
) -> None:
    job = schedule(jobs.fail, meta={"backoff": backoff})
    before = clock.now("default")
    job = run(job)
    assert_one_failure(job, "ValueError('failed')")
    assert job.scheduled is not None
    waits = timedelta(seconds=seconds)
    assert before + waits <= job.scheduled <= clock.now("default") + waits
    assert not notes()


@pytest.mark.parametrize("path", ["suite.abuse.backoff_raises", "suite.abuse.backoff_in_words"])
def test_what_is_logged_of_a_back_off_has_the_id_and_the_name_of_the_job(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    meta, about = json.dumps({"backoff": path}), payload.about(7, "suite.jobs.fail")
    past = policy.history(meta, attempts=0, crashes=0, priority=5, about=about)
    assert past.backoff is not None
    assert past.backoff(1) == 60
    [record] = caplog.records
    assert (record.levelname, record.__dict__["job_id"], record.__dict__["job_name"]) == (
        "ERROR",
        7,
        "suite.jobs.fail",
    )


@pytest.mark.parametrize(
    "stored",
    [
        {"name": "suite.jobs.nowhere"},
        {"name": "nowhere.at.all"},
        {"name": "logging.os.system"},
        {"name": "eval"},
        {"name": "suite.jobs.__builtins__.eval"},
        {"name": ""},
        {"args": "not JSON"},
        {"args": "3"},
        {"args": "[" * 100_000},
        {"args": '["one", "too many"]'},
        {"kwargs": "[1]"},
        {"kwargs": '{"unknown": 1}'},
        {"name": "suite.jobs.fail", "meta": "not JSON"},
        {"name": "suite.jobs.fail", "meta": "[" * 100_000},
        {"name": "suite.jobs.fail", "meta": "[1]"},
        {"name": "suite.jobs.fail", "meta": '{"max_attempts": "many", "backoff": []}'},
        {"name": "suite.jobs.fail", "meta": '{"max_attempts": 1.5, "backoff": 1e999}'},
        {"name": "suite.jobs.fail", "meta": '{"backoff": 1%s}' % ("0" * 400)},
        {"name": "suite.jobs.fail", "meta": '{"backoff": -1}'},
    ],
    ids=lambda stored: " ".join(stored.values())[:40],
)
def test_a_row_that_cannot_be_run_is_a_failure_like_any_other(
    run: Run, stored: dict[str, str]
) -> None:
    job = schedule(jobs.note)
    Job.objects.filter(pk=job.pk).update(**stored)
    assert_one_failure(run(Job.objects.get()))
    assert not notes()


def test_a_stored_name_reaches_no_dangerous_function(run: Run, tmp_path: Path) -> None:
    job = schedule(jobs.note)
    path = tmp_path / "written"
    code = json.dumps([f"open({str(path)!r}, 'w')"])
    Job.objects.filter(pk=job.pk).update(name="eval", args=code)
    assert_one_failure(run(Job.objects.get()), "UnknownFunction")
    assert not path.exists()


def test_a_function_that_is_not_allowed_any_more_is_not_run(run: Run, settings: Any) -> None:
    job = schedule(jobs.note)
    settings.ASYNC = {"ALLOWED_FUNCTIONS": ["shop."]}
    assert_one_failure(run(job), "FunctionNotAllowed", "suite.jobs.note")
    assert not notes()


@pytest.mark.parametrize("tie", ["__cause__", "__context__"])
def test_of_errors_that_form_a_ring_each_is_looked_at_once(tie: str) -> None:
    first, second = ValueError("first"), ValueError("second")
    setattr(first, tie, second)
    setattr(second, tie, first)
    assert list(islice(chain(first), 9)) == [first, second]
