"""A job can ask which job it is, and show how far it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from django_async import current, current_job, schedule
from django_async.api import schedule_many
from django_async.models import Job
from suite import abuse, told
from suite.attempts import WAYS, attempt

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was shown to the parent."""
    values: list[Any] = []
    monkeypatch.setattr(current, "show", values.append)
    return values


@pytest.mark.parametrize("way", WAYS)
def test_a_job_knows_its_id_its_database_its_name_its_attempt_and_its_queue(
    way: str, flush: Flush
) -> None:
    job = attempt(schedule(told.describe_itself, queue="reports"), way, flush)
    assert job.result == told.describe(job, 1)


def test_attempts_are_counted_from_one(flush: Flush, tmp_path: Any) -> None:
    job = schedule(told.fail_and_describe_itself, [str(tmp_path)], meta={"backoff": 0})
    flush(keep_going=True)
    flush(keep_going=True)
    job.refresh_from_db()
    assert job.result == told.describe(job, 2)


def test_outside_of_jobs_there_is_none(flush: Flush) -> None:
    assert current_job() is None
    schedule(told.describe_itself)
    flush()
    assert current_job() is None


def test_nobody_can_change_what_it_says() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        current.CurrentJob(1, "default", "name", 1, "default").id = 2  # type: ignore[misc]


def test_progress_is_shown_at_once(shown: list[Any]) -> None:
    schedule(told.progress, [3, 4, "almost"]).execute()
    assert shown == [{"done": 3, "total": 4, "message": "almost"}]


def test_progress_needs_neither_a_total_nor_a_message(shown: list[Any]) -> None:
    schedule(told.progress, [0.5]).execute()
    assert shown == [{"done": 0.5, "total": None, "message": ""}]


def test_of_a_message_two_hundred_characters_are_shown_and_none_that_no_database_holds(
    shown: list[Any],
) -> None:
    schedule(told.progress_oddly).execute()
    [value] = shown
    assert len(value["message"]) == 200
    assert value["message"].startswith("nul \\x00 lone \ufffd")


@pytest.mark.parametrize("odd", [-1, 2**63, 10**400, "3", True, None])
def test_progress_that_is_no_number_is_refused(odd: Any, shown: list[Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="done must be"):
        schedule(told.progress, [odd]).execute()
    if odd is not None:
        with pytest.raises((TypeError, ValueError), match="total must be"):
            schedule(told.progress, [1, odd]).execute()
    assert not shown


def test_progress_that_is_infinite_or_no_text_is_refused(shown: list[Any]) -> None:
    job = current.CurrentJob(1, "default", "name", 1, "default")
    with current.running(job):
        for odd in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match="done must be"):
                job.progress(odd)
        with pytest.raises(TypeError, match="message must be"):
            job.progress(1, 2, b"bytes")  # type: ignore[arg-type]
    assert not shown


def test_a_job_that_has_ended_shows_nothing_more_beside_the_next_one(shown: list[Any]) -> None:
    """A thread that it has left, say."""
    schedule(told.keep_itself).execute()
    schedule(told.progress_of_kept).execute()
    assert not shown


def test_a_thread_of_the_job_shows_its_progress_if_it_is_given_the_job(shown: list[Any]) -> None:
    schedule(told.progress_in_thread).execute()
    assert shown == [{"done": 1, "total": None, "message": "in a thread"}]


def test_the_job_itself_need_not_know_of_any_of_it(flush: Flush) -> None:
    job = schedule(abuse.pid)
    flush(workers=1)
    assert Job.objects.get(pk=job.pk).state == "executed"


def test_a_job_that_executes_another_one_is_itself_again_afterwards() -> None:
    inner = schedule(told.describe_itself)
    outer = schedule(told.describe_around, [inner.pk], meta={"atomic": False})
    before, within, after = outer.execute()
    assert before == after == outer.pk
    assert within["id"] == inner.pk


def test_a_job_knows_which_job_scheduled_it() -> None:
    parent = schedule(told.schedule_in_all_ways)
    by_one, *by_many = parent.execute()
    assert len(by_many) == 2
    children = Job.objects.filter(pk__in=[by_one, *by_many])
    assert set(children.values_list("scheduled_by", flat=True)) == {parent.pk}


def test_what_no_job_scheduled_says_so() -> None:
    job, *others = schedule(told.me), *schedule_many([{"function": told.me}])
    for one in (job, *others):
        one.refresh_from_db()
        assert one.scheduled_by is None
